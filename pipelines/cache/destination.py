"""The destination of a copy of caches: a folder apart from theirs."""

from collections.abc import Sequence
from pathlib import Path

from losa.cache_format import Cache, CacheError
from losa.cache_format.storage.paths import CachePath


def refuse_entangled(destination: CachePath, sources: Sequence[Cache]) -> None:
    """Refuse a destination whose files would lie among those of a source, or around them.

    Raises:
        CacheError: the destination is the folder of a source, a folder in it, or one that contains it.
    """
    for source in sources:
        if _is_within(destination, source.path):
            place = "that folder"
        elif _is_within(source.path, destination):
            place = "a folder around it"
        else:
            continue
        raise CacheError(
            f"{destination}: a cache is read from {source.path}, and its copy cannot be written into "
            f"{place}: name another one with --to"
        )


def _is_within(one: CachePath, other: CachePath) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve().is_relative_to(other.resolve())
    if isinstance(one, Path) or isinstance(other, Path):
        return False
    return one.is_relative_to(other)
