"""The configurations of a side network on a data set: the defaults, and each change of one option."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from losa.adapt import AdaptConfig
from losa.adapt.members.resolution import features_of, resolved
from losa.cache_format.sites import counted_sites
from losa.pipelines.bench.study.caches import SetCaches
from losa.pipelines.bench.study.changes import CHANGES
from losa.pipelines.bench.study.settings import StudySettings
from losa.pipelines.shown_options import shown

DEFAULT = "default"
"""Name of the configuration without a change."""

Variant = tuple[str, AdaptConfig]
"""``default`` or ``option=value``, and the configuration."""


def variants(
    settings: StudySettings, caches: SetCaches, side: str, options: Sequence[str]
) -> Iterator[Variant]:
    """The different configurations of a side network, the defaults first.

    Changes that are no others than the defaults are left out, as are options without an effect on the side
    network and values that the backbone does not have.

    Args:
        settings: the defaults with their overrides.
        caches: those of the data set, which are extracted as they are needed.
        side: the side network.
        options: names of the options to change, keys of `CHANGES`.

    Raises:
        LosaError: a cache cannot be extracted.
    """
    default = settings.trained(settings.config(caches.of(), side))
    find = functools.cache(features_of)
    known = {resolved(default, find).member_id}
    yield DEFAULT, default
    for option in options:
        if option in default.idle_options:
            continue
        for value in CHANGES[option].values:
            if not _is_possible(default, option, value):
                continue
            name, config = _changed(default, caches, option, value)
            member = resolved(config, find).member_id
            if member not in known:
                known.add(member)
                yield name, config


def _is_possible(default: AdaptConfig, option: str, value: Any) -> bool:
    """Whether the backbone has that many sites, or that token."""
    group = features_of(default.cache).group
    if option == "sites":
        return bool(value <= len(counted_sites(group.sites)))
    return not (option == "pool" and value == "cls" and not group.tokens.cls)


def _changed(default: AdaptConfig, caches: SetCaches, option: str, value: Any) -> Variant:
    name = f"{option}={shown(value)}"
    if option == "codec":
        return name, replace(default, cache=str(caches.of(value)))
    if option == "views" and value > 1:
        caches.add_views(default.train_splits, value)
    config = replace(default, **{option: value})
    if option == "rank" and "heads" not in config.idle_options and value % config.heads:
        # The rank has to be a multiple of the heads.
        config = replace(config, heads=math.gcd(value, config.heads))
        name += f" heads={config.heads}"
    return name, config
