"""Removal of splits from a cache, or of a whole cache."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from losa.cache_format import CacheError, Manifest
from losa.cache_format.manifest import MANIFEST_NAME
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.index import read_index
from losa.cache_format.storage.atomic_writes import remove
from losa.cache_format.storage.lock import LOCK_NAME, writer_lock
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.removal import refuse_irremovable, remove_tree


def droppable(path: CachePath, splits: Sequence[str]) -> tuple[Manifest, list[str]]:
    """Find what would be left of a cache without some splits.

    Returns:
        The new manifest, and the names of the segments that no other split needs.

    Raises:
        CacheError: there is no such split, or no split would be left.
    """
    metadata = CacheMetadata.read(path)
    manifest = metadata.manifest
    for name in splits:
        manifest.split(name)
    kept = tuple(record for record in manifest.splits if record.name not in splits)
    if not kept:
        raise CacheError(f"{path}: no split would be left; losa-cache drop --all removes the whole cache")
    needed = {int(number) for record in kept for number in np.unique(read_index(metadata, record)[:, 0])}
    segments = tuple(segment for segment in manifest.segments if segment.number in needed)
    gone = [segment.name for segment in manifest.segments if segment.number not in needed]
    folders = tuple(f"{folder}/" for folder in _folders(manifest, splits, gone))
    files = {name: record for name, record in manifest.files.items() if not name.startswith(folders)}
    return replace(manifest, splits=kept, segments=segments, files=files), gone


def drop_splits(path: CachePath, splits: Sequence[str]) -> None:
    """Remove splits from a cache, and the images that no other split has.

    The manifest is changed first: if the process is killed after that, the cache is valid, and
    `losa-cache repair` removes the leftovers.

    Raises:
        CacheError: see `droppable` and `refuse_irremovable`; nothing is changed.
        CacheInUse: another process is writing to the cache.
    """
    lock = writer_lock(path)
    try:
        manifest, segments = droppable(path, splits)
        folders = [path / folder for folder in _folders(manifest, splits, segments)]
        refuse_irremovable(folders)
        lock.check()
        manifest.write(path)
        for folder in folders:
            remove_tree(folder)
    finally:
        lock.release()


def drop_cache(path: CachePath) -> None:
    """Remove a whole cache, beginning with its manifest. Files that are not part of the cache are kept.

    Raises:
        CacheError: there is no cache, or see `refuse_irremovable`; nothing is changed.
        CacheInUse: another process is writing to it.
    """
    manifest = Manifest.read(path)
    lock = writer_lock(path)
    try:
        refuse_irremovable([path / manifest.arrays])
        lock.check()
        remove(path / MANIFEST_NAME)
        remove_tree(path / manifest.arrays)
        if isinstance(path, Path):
            (path / LOCK_NAME).unlink(missing_ok=True)
    finally:
        lock.release()
    if isinstance(path, Path):
        with suppress(OSError):  # the folder holds other files, or a new cache
            path.rmdir()


def _folders(manifest: Manifest, splits: Sequence[str], segments: Sequence[str]) -> list[str]:
    return [
        *(f"{manifest.arrays}/splits/{name}" for name in splits),
        *(f"{manifest.arrays}/segments/{name}" for name in segments),
    ]
