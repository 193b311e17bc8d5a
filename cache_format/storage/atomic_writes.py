"""Files that appear whole or not at all.

A local file is written under a temporary name, flushed to the device, renamed, and the rename itself is
flushed by syncing the folder. A process or machine that dies in between leaves the old state. A remote
file is written on this machine first and then uploaded, which object stores do whole or not at all.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from upath import UPath

from losa.cache_format.storage.paths import CachePath

TEMPORARY_SUFFIX = ".tmp"


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries (names, not contents) to the device."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: CachePath) -> None:
    """Create a folder and its missing parents so that they survive a power cut. Buckets have no folders."""
    if not isinstance(folder, Path):
        return
    missing = [folder, *folder.parents]
    missing = [path for path in missing if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def _nothing() -> None:
    pass


@contextmanager
def publishing(path: CachePath, before: Callable[[], None] = _nothing) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block ends without an error.

    Args:
        path: of the file.
        before: called when the file is whole and flushed, before it takes its name.
    """
    publisher = _publishing_locally(path, before) if isinstance(path, Path) else _uploading(path, before)
    with publisher as file:
        yield file


def publish(path: CachePath, content: bytes) -> None:
    """Write one file whole or not at all."""
    with publishing(path) as file:
        file.write(content)


def publish_files(folder: CachePath, files: Mapping[str, bytes]) -> None:
    """Publish files one after another, each in a folder that is made if it is missing.

    Args:
        folder: the names of the files are relative to it.
        files: name -> content.
    """
    for name, content in files.items():
        make_folder((folder / name).parent)
        publish(folder / name, content)


def remove(path: CachePath) -> None:
    """Remove a file, if it is there, before anything that comes after."""
    if not isinstance(path, Path):
        path.unlink(missing_ok=True)
    elif path.exists():
        path.unlink()
        sync_folder(path.parent)


@contextmanager
def _publishing_locally(path: Path, before: Callable[[], None]) -> Iterator[BinaryIO]:
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        before()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def _uploading(path: UPath, before: Callable[[], None]) -> Iterator[BinaryIO]:
    with tempfile.NamedTemporaryFile(prefix="losa-upload-") as file:
        yield file  # type: ignore[misc]  # a wrapper around a BinaryIO
        file.flush()
        before()
        path.fs.put_file(file.name, path.path)
