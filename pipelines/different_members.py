"""Trains the members of a list, in which one may stand several times."""

import functools
from collections.abc import Sequence
from pathlib import Path

from losa.adapt import AdaptConfig, Job, adapt_all
from losa.adapt.members.member_folder import member_folder
from losa.adapt.members.resolution import features_of, resolved
from losa.adapt.members.summary import Outcome


def train_each_once(configs: Sequence[AdaptConfig], folder: Path) -> list[Outcome]:
    """Train each different member once, in as few passes as possible; finished ones are found in the folder.

    Args:
        configs: the members, of which several may be the same one.
        folder: folder of the members' folders.

    Returns:
        The outcome of each, in order.

    Raises:
        LosaError: as in `adapt_all`.
    """
    find = functools.cache(features_of)
    named = [resolved(config, find) for config in configs]
    jobs = {config.member_id: Job(config, member_folder(folder, config)) for config in named}
    outcomes = dict(zip(jobs, adapt_all(list(jobs.values())), strict=True))
    return [outcomes[config.member_id] for config in named]
