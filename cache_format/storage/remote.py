"""Operations on many files in one request to an fsspec file system, instead of a round trip for each file."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from upath import UPath

from losa.cache_format.errors import CacheError, CorruptCache
from losa.cache_format.storage.paths import CachePath, cannot_read


def read_existing(paths: Sequence[CachePath]) -> list[bytes | CorruptCache | None]:
    """Contents of small files of one folder, in the given order.

    None for a missing file, an error for a file that is damaged or not a file.

    Raises:
        CacheError: the files cannot be reached.
    """
    if not paths or isinstance(paths[0], Path):
        return [_read(path) for path in paths]
    names = [cast(UPath, path).path for path in paths]
    found = paths[0].fs.cat(names, on_error="return")
    return [_outcome(path, found.get(name)) for path, name in zip(paths, names, strict=True)]


def refuse_unreachable(folder: CachePath) -> None:
    """Check that the file system of a folder can be reached, whether the folder exists or not.

    Raises:
        CacheError: the bucket does not exist, the credentials are missing or wrong, or the server is down.
    """
    if isinstance(folder, Path):
        return
    try:
        folder.fs.find(f"{folder.path}/nothing")  # listing the folder itself could take long
    except Exception as error:  # file systems raise errors of their own types
        raise CacheError(
            f"{folder} cannot be reached: {type(error).__name__}: {error}. Check the bucket's name, the "
            "credentials and the endpoint"
        ) from error


def sizes_below(folder: CachePath) -> dict[str, int]:
    """Sizes in bytes of all files below a folder, by path relative to it; symbolic links are followed."""
    if isinstance(folder, Path):
        paths = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
        # Each size on its own, because a writer may rename files during the listing.
        found = {path.relative_to(folder).as_posix(): size_of(path) for path in paths}
        return {name: size for name, size in found.items() if size is not None}
    folder.fs.invalidate_cache()  # another process may have written since the last listing
    root = folder.path.rstrip("/")
    listed = folder.fs.find(root, detail=True)
    return {name[len(root) + 1 :]: int(entry["size"]) for name, entry in listed.items()}


def names_in(folder: CachePath) -> list[str]:
    """Names of the entries of a folder; empty if there is no folder."""
    if not isinstance(folder, Path):
        return [name for name in sizes_below(folder) if "/" not in name]
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def size_of(path: CachePath) -> int | None:
    """Size of a file in bytes; None if there is no file."""
    if isinstance(path, Path):
        return _local_size(path)
    try:
        entry = path.fs.info(path.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(entry["size"]) if entry["type"] == "file" else None


def sizes_of(folder: CachePath, names: Iterable[str]) -> list[int | None]:
    """Sizes in bytes of files below a folder, given by paths relative to it; None where there is no file."""
    if not isinstance(folder, Path):
        return [size_of(folder / name) for name in names]
    return [_local_size(f"{folder}/{name}") for name in names]  # making a `Path` takes longer than the size


def _local_size(path: str | Path) -> int | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- see `sizes_of`
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _read(path: CachePath) -> bytes | CorruptCache | None:
    try:
        return _outcome(path, path.read_bytes())
    except OSError as error:
        return _outcome(path, error)


def _outcome(path: CachePath, found: bytes | Exception | None) -> bytes | CorruptCache | None:
    if found is None or isinstance(found, FileNotFoundError | NotADirectoryError):
        return None
    if isinstance(found, OSError):
        error = cannot_read(path, found)
        if not isinstance(error, CorruptCache):
            raise error from found
        return error
    if isinstance(found, Exception):
        raise CacheError(f"{path}: {type(found).__name__}: {found}") from found
    return found
