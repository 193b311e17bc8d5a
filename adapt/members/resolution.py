"""Options that say the same of a cache get one spelling, by which their member is named.

These are ``pool=auto``, the ways to name sites, and the start of a stream that has only one site.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from losa.adapt.config import AdaptConfig
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.cache_format.identity import SiteGroup
from losa.cache_format.manifest import Manifest
from losa.cache_format.sites import EMBED, select_sites
from losa.cache_format.storage.paths import cache_folder


def site_group_of(cache: str) -> SiteGroup:
    """Sites, tokens and width of a cache.

    Raises:
        LosaError: the cache cannot be opened.
    """
    return Manifest.read(cache_folder(cache)).features.group


def resolved(config: AdaptConfig, find: Callable[[str], SiteGroup] = site_group_of) -> AdaptConfig:
    """The configuration in the spelling by which its member is named.

    ``pool=auto`` becomes the class token where there is one, else the mean of the grid. Sites become ``all``,
    else the smallest number that selects them, else their names. A side network that reads the last of the
    sites only is named by that one.

    A configuration that does not fit its cache is returned as it is: it fails when it is prepared.

    Args:
        config: any configuration.
        find: `site_group_of`, or the same with a memory.
    """
    try:
        group = find(config.cache)
        chosen = select_sites(config.sites, group.sites)
    except LosaError:
        return config
    last_only = SIDE_NETWORKS[config.side].reads_last_site_only
    changed = replace(
        config,
        pool=config.architecture_for(group.tokens).pool,
        sites=_spelling(chosen, group.sites, last_only=last_only),
        start="last" if len(chosen) == 1 else config.start,
    )
    return config if changed == config else changed


def _spelling(chosen: Sequence[str], sites: Sequence[str], *, last_only: bool) -> int | str | list[int | str]:
    def read(selected: Sequence[str]) -> Sequence[str]:
        return selected[-1:] if last_only else selected

    blocks = [site for site in sites if site != EMBED]
    spellings: list[int | str] = ["all", *range(1, len(blocks) + 1)]
    for spelling in spellings:
        if blocks and read(select_sites(spelling, sites)) == read(chosen):
            return spelling
    names = read(chosen)
    return names[0] if len(names) == 1 else list(names)
