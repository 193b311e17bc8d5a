"""The pool that ``pool=auto`` stands for: the class token where there is one, else the mean of the grid."""

from collections.abc import Callable
from dataclasses import replace

from losa.adapt.config import AdaptConfig
from losa.cache_format import LosaError
from losa.cache_format.identity import TokenLayout
from losa.cache_format.manifest import Manifest
from losa.cache_format.storage.paths import cache_folder


def tokens_of(cache: str) -> TokenLayout:
    """The tokens of a cache's backbone.

    Raises:
        LosaError: the cache cannot be opened.
    """
    return Manifest.read(cache_folder(cache)).features.group.tokens


def with_pool(config: AdaptConfig, find_tokens: Callable[[str], TokenLayout] = tokens_of) -> AdaptConfig:
    """The configuration with the pool that ``pool=auto`` stands for, by which its member is named.

    A configuration whose cache cannot be opened is returned as it is: it fails when it is prepared.

    Args:
        config: any configuration.
        find_tokens: `tokens_of`, or the same with a memory.
    """
    if config.pool != "auto":
        return config
    try:
        tokens = find_tokens(config.cache)
    except LosaError:
        return config
    return replace(config, pool=config.architecture_for(tokens).pool)
