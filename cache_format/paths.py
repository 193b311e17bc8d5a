"""Where a cache stands: a local folder, or a folder of a bucket named by a URL."""

import os
from pathlib import Path
from typing import TypeAlias

from upath import UPath

from losa.cache_format.errors import CacheError

CachePath: TypeAlias = Path | UPath
"""A `pathlib.Path` on this machine, or a `UPath` (same methods, through fsspec) elsewhere."""


def cache_folder(path: str | os.PathLike[str] | UPath) -> CachePath:
    """The folder that a user's ``cache=...`` names.

    Raises:
        CacheError: a URL whose protocol is unknown, or needs a package that is not installed.
    """
    text = str(path) if isinstance(path, UPath) else os.fspath(path)
    protocol, separator, rest = text.partition("://")
    if not separator:
        return Path(text).expanduser()
    if protocol in ("file", "local"):
        return Path(rest)
    try:
        folder = path if isinstance(path, UPath) else UPath(text)
        folder.fs  # noqa: B018 -- made on first use, which may fail
    except ImportError as error:
        raise CacheError(f"cache={text}: {error} (pip install 'losa[s3]' brings what s3:// needs)") from None
    except ValueError as error:
        raise CacheError(f"cache={text}: {error}") from None
    if isinstance(folder, Path):
        # What does not look like a protocol (``carrier-pigeon://``) would become a folder of that name.
        raise CacheError(f"cache={text}: unsupported filesystem: {protocol!r}")
    return folder


def is_remote(path: CachePath) -> bool:
    """Whether a path is read and written through fsspec."""
    return not isinstance(path, Path)
