"""Folders inside a cache: the manifest stands beside one zarr group that holds every array."""

import os
from pathlib import Path

from losa.cache_format.errors import CacheError

ARRAYS_NAME = "arrays.zarr"


def cache_folder(path: str | os.PathLike[str]) -> Path:
    """The folder that a user's ``cache=...`` names.

    Raises:
        CacheError: it is a URL.
    """
    if "://" in os.fspath(path):
        raise CacheError(f"cache={os.fspath(path)}: caches are local folders so far, not URLs")
    return Path(path).expanduser()


def arrays_folder(cache: Path) -> Path:
    """The zarr group."""
    return cache / ARRAYS_NAME


def constants_folder(cache: Path) -> Path:
    """Group of the frozen arrays."""
    return arrays_folder(cache) / "constants"


def segment_folder(cache: Path, segment: str) -> Path:
    """Group of one segment."""
    return arrays_folder(cache) / "segments" / segment


def split_folder(cache: Path, split: str) -> Path:
    """Group of one split."""
    return arrays_folder(cache) / "splits" / split
