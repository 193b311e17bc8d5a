"""Atomic writes: files appear whole or not at all.

A local file is written under a temporary name, flushed to the device and renamed, and the rename is flushed
by syncing the folder. A process or machine that dies in between leaves the old state. A remote file is first
written on this machine and then uploaded, which is atomic in object stores.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from upath import UPath

from losa.cache_format.storage.paths import CachePath

TEMPORARY_SUFFIX = ".tmp"


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder (names, not contents) to the device."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: CachePath) -> None:
    """Create a folder and its missing parents durably. Does nothing in a bucket, which has no folders."""
    if isinstance(folder, Path):
        for path in _missing(folder):
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)


def create_folder(folder: Path) -> list[Path]:
    """Create a local folder and its missing parents.

    Returns:
        The folders that got a new entry, which is durable once they are flushed with `sync_folder`.
    """
    missing = _missing(folder)
    for path in missing:
        path.mkdir(exist_ok=True)
    return [path.parent for path in missing]


def _missing(folder: Path) -> list[Path]:
    """The folder and its parents, outermost first, as far as they do not exist."""
    return [path for path in [folder, *folder.parents] if not path.exists()][::-1]


def _nothing() -> None:
    pass


@contextmanager
def publishing(path: CachePath, before: Callable[[], None] = _nothing) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only if the block ends without an error.

    Args:
        path: final path of the file.
        before: called when the file is whole and flushed, before it gets its name.
    """
    publisher = _publishing_locally(path, before) if isinstance(path, Path) else _uploading(path, before)
    with publisher as file:
        yield file


def publish(path: CachePath, content: bytes) -> None:
    """Write one file atomically."""
    with publishing(path) as file:
        file.write(content)


def publish_files(folder: CachePath, files: Mapping[str, bytes]) -> None:
    """Publish files one after another, and create their folders.

    Args:
        folder: folder to which the names are relative.
        files: name -> content.
    """
    for name, content in files.items():
        make_folder((folder / name).parent)
        publish(folder / name, content)


def publish_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Publish local files of one folder in order, and flush the folder once, after the last of them.

    If the machine dies in between, any of them may still be in the old state, but none is partial.

    Args:
        folder: an existing folder on this machine.
        files: name -> content.
    """
    for name, content in files.items():
        with _replacing(folder / name, _nothing) as file:
            file.write(content)
    sync_folder(folder)


def remove(path: CachePath) -> None:
    """Remove a file, if it exists, durably."""
    if not isinstance(path, Path):
        path.unlink(missing_ok=True)
    elif path.exists():
        path.unlink()
        sync_folder(path.parent)


@contextmanager
def _publishing_locally(path: Path, before: Callable[[], None]) -> Iterator[BinaryIO]:
    with _replacing(path, before) as file:
        yield file
    sync_folder(path.parent)


@contextmanager
def _replacing(path: Path, before: Callable[[], None]) -> Iterator[BinaryIO]:
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        before()
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # where nothing can be written, there is nothing to remove
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)  # a failed write names no file, and a temporary one nobody knows
        raise


@contextmanager
def _uploading(path: UPath, before: Callable[[], None]) -> Iterator[BinaryIO]:
    with tempfile.NamedTemporaryFile(prefix="losa-upload-") as file:
        yield file  # type: ignore[misc]  # a wrapper around a BinaryIO
        file.flush()
        before()
        path.fs.put_file(file.name, path.path)
