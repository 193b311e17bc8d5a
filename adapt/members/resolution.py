"""Options that say the same of a cache get one spelling, by which their member is named.

These are the options that are ``auto``, the ways to name sites, and the start of a stream that has only one
site.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from losa.adapt.config import AdaptConfig
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.cache_format.identity import FeatureIdentity
from losa.cache_format.manifest import Manifest
from losa.cache_format.sites import counted_sites, select_sites
from losa.cache_format.storage.paths import cache_folder


def features_of(cache: str) -> FeatureIdentity:
    """What a cache holds: sites, tokens, width and the backbone.

    Raises:
        LosaError: the cache cannot be opened.
    """
    return Manifest.read(cache_folder(cache)).features


def resolved(config: AdaptConfig, find: Callable[[str], FeatureIdentity] = features_of) -> AdaptConfig:
    """The configuration in the spelling by which its member is named.

    ``pool=auto`` becomes the class token where there is one, else the mean of the grid. ``mixing=auto``
    becomes ``factorised`` for clips of several frames; for images it is ``auto``. ``rank=auto``,
    ``dropout=auto``, ``start=auto`` and ``probe_share=auto`` become those of the kind of side network. Sites
    become ``all``, else the smallest number that selects them, else their names. A side network that reads
    the last of the sites only is named by that one.

    A configuration that does not fit its cache is returned as it is: it fails when it is prepared.

    Args:
        config: any configuration.
        find: `features_of`, or the same with a memory.
    """
    try:
        features = find(config.cache)
        chosen = features.select(config.sites)
    except LosaError:
        return config
    architecture = config.architecture_for(features.group.tokens)
    last_only = SIDE_NETWORKS[config.side].reads_last_site_only
    changed = replace(
        config,
        rank=config.resolved_rank,
        dropout=config.dropout_rate,
        pool=architecture.pool,
        mixing=architecture.mixing or "auto",
        sites=_spelling(chosen, features.group.sites, last_only=last_only),
        start="last" if len(chosen) == 1 else config.resolved_start,
        probe_share=config.resolved_probe_share,
    )
    return config if changed == config else changed


def idle_options_on_cache(
    config: AdaptConfig, find: Callable[[str], FeatureIdentity] = features_of
) -> dict[str, str]:
    """`AdaptConfig.idle_options`, and those that have no effect because of what the cache holds.

    Args:
        config: any configuration.
        find: `features_of`, or the same with a memory.
    """
    idle = config.idle_options
    try:
        features = find(config.cache)
        sites = features.select(config.sites)
    except LosaError:
        return idle  # it fails when it is prepared
    of_cache = {}
    if features.group.tokens.frames == 1:
        of_cache["mixing"] = "images, which have one frame"
    if len(sites) == 1:
        of_cache["start"] = "one site"
    return of_cache | idle


def _spelling(chosen: Sequence[str], sites: Sequence[str], *, last_only: bool) -> int | str | list[int | str]:
    def read(selected: Sequence[str]) -> Sequence[str]:
        return selected[-1:] if last_only else selected

    counted = counted_sites(sites)
    spellings: list[int | str] = ["all", *range(1, len(counted) + 1)]
    for spelling in spellings:
        if counted and read(select_sites(spelling, sites)) == read(chosen):
            return spelling
    names = read(chosen)
    return names[0] if len(names) == 1 else list(names)
