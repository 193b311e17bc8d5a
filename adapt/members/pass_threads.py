"""The number of threads that compute a pass on the CPU."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from losa.adapt.members.preparation import PreparedJob
from losa.cache_format.common.cores import usable_cores
from losa.cache_format.common.threads import thread_count


@contextmanager
def pass_threads(members: Sequence[PreparedJob], find_idle: Callable[[], float]) -> Iterator[int]:
    """A context in which torch computes with as many threads as suit a pass.

    Args:
        members: the members of the pass.
        find_idle: gives the number of cores that other processes leave idle.

    Yields:
        The number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(_count(members, before, find_idle))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _count(members: Sequence[PreparedJob], current: int, find_idle: Callable[[], float]) -> int:
    config, features = members[0].config, members[0].features
    # The last bits of a sum depend on the number of threads: members resume with those they were begun with.
    begun = [member.checkpoint.progress.get("threads") for member in members if member.checkpoint is not None]
    known: list[int] = [count for count in begun if count is not None]
    if known and config.threads == "auto":
        return min(max(known), usable_cores())
    sites = max(len(member.features.sites) for member in members)
    numbers = config.batch_size * sites * features.tokens.count * features.width
    return thread_count(config.threads, current, numbers, find_idle)
