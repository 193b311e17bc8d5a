"""Paths of caches: a local folder, or a folder in a bucket that is named by a URL."""

import errno
import os
import shlex
from pathlib import Path
from typing import TypeAlias

from upath import UPath

from losa.cache_format.errors import CacheError, CorruptCache

CachePath: TypeAlias = Path | UPath
"""A local `pathlib.Path`, or a remote `UPath`, which has the same methods through fsspec."""


def cache_folder(path: str | os.PathLike[str] | UPath, option: str = "cache") -> CachePath:
    """The folder that a user's ``cache=...``, or another option, names.

    Raises:
        CacheError: the protocol of a URL is unknown or needs a package that is not installed.
    """
    text = str(path) if isinstance(path, UPath) else os.fspath(path)
    protocol, separator, rest = text.partition("://")
    if not separator:
        return local_path(text)
    if protocol in ("file", "local"):
        return Path(rest)
    try:
        folder = path if isinstance(path, UPath) else UPath(text)
        folder.fs  # noqa: B018 -- created on first access, which may fail
    except ImportError as error:
        raise CacheError(
            f"{option}={text}: {error} (pip install 'losa[s3]' brings what s3:// needs)"
        ) from None
    except ValueError as error:
        raise CacheError(f"{option}={text}: {error}") from None
    if isinstance(folder, Path):
        # Without a valid protocol (``carrier-pigeon://``) the text would become the name of a folder.
        raise CacheError(f"{option}={text}: unsupported filesystem: {protocol!r}")
    return folder


def local_path(text: str) -> Path:
    """The local file or folder that a user names; ``~`` is the home folder."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 -- Path.expanduser fails if there is no such user


def instead_of_folder(path: Path) -> str:
    """What is where a folder was expected, for messages: a file, or nothing."""
    return "it is a file" if path.exists() else "there is no such folder"


def shell_path(path: CachePath | str) -> str:
    """A path as it is typed in a shell, for commands in messages."""
    return shlex.quote(str(path))


def is_remote(path: CachePath) -> bool:
    """Whether a path is read and written through fsspec."""
    return not isinstance(path, Path)


def cannot_read(path: CachePath, error: OSError) -> CacheError:
    """The error to raise when a file of a cache cannot be read: `CorruptCache` if it is damaged."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CorruptCache(f"{path}: there is no such file")
    if isinstance(error, IsADirectoryError):
        return CorruptCache(f"{path}: expected a file, found a folder")
    # A dead sector. For remote files, fsspec raises the same error for all network problems.
    if error.errno == errno.EIO and isinstance(path, Path):
        return CorruptCache(f"{path}: cannot be read ({error.strerror})")
    return CacheError(f"{path}: cannot be read ({error.strerror or error})")
