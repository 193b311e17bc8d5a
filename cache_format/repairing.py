"""Removes damaged shards from a cache, so that extraction makes them again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX, sync_folder
from losa.cache_format.storage.lock import writer_lock
from losa.cache_format.storage.paths import CachePath, cache_folder
from losa.cache_format.storage.removal import remove_tree
from losa.cache_format.verification import Progress, Verification, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The result of repairing a cache, and what is left to do."""

    found: Verification
    """State of the cache before the repair."""
    dropped_shards: tuple[tuple[str, int], ...]
    """Segment and number of each damaged shard that was removed. They are missing now."""
    removed: tuple[str, ...]
    """Other paths that were removed, relative to the cache: temporary files, entries in the place of a file
    or folder of the cache and, with ``prune``, segments and splits that are not in the manifest."""
    not_repaired: tuple[str, ...]
    """Paths of damaged or missing metadata files, relative to the cache. They are left unchanged."""
    splits: tuple[str, ...]
    """Names of the splits of the cache."""

    @property
    def left(self) -> tuple[str, ...]:
        """Paths of unknown files that were left unchanged, relative to the cache. They do no harm."""
        gone = tuple(f"{name}/" for name in self.removed)
        return tuple(
            name for name in self.found.strays if name not in self.removed and not name.startswith(gone)
        )

    @property
    def advice(self) -> tuple[str, ...]:
        """Sentences that say what the user has to do now."""
        sentences = []
        if self.dropped_shards or self.found.missing_shards:
            sentences.append("Run the losa-extract command that made the cache: it makes missing shards.")
        if self.not_repaired:
            sentences.append(
                "Metadata files are damaged. Run the losa-extract command that made the cache, with all its "
                f"splits (splits=[{','.join(self.splits)}]): it writes them again and keeps the shards."
            )
        return tuple(sentences)


def repair(path: str | CachePath, progress: Progress | None = None, *, prune: bool = False) -> Repair:
    """Verify a cache, and remove damaged shards and leftovers.

    The commit record of a damaged shard is removed first: if repair is killed at any moment, the shard is
    missing or damaged, but never taken for undamaged. Undamaged shards are not touched.

    Args:
        path: folder or URL of the cache.
        progress: see `verify`.
        prune: also remove segments and splits that are not in the manifest. They may be somebody's only copy
            if the manifest is an old one.

    Returns:
        What was damaged, what was removed, and what is left to do.

    Raises:
        CacheError: there is no cache, or its files cannot be read for another reason than damage.
        CacheInUse: another process is writing to the cache.
        CorruptCache: the manifest is damaged. Remove it and run the losa-extract command that made the
            cache: with the same settings it keeps the existing shards.
    """
    cache = cache_folder(path)
    CacheMetadata.read(cache)  # where there is no cache, no lock file is left behind
    lock = writer_lock(cache)
    try:
        found = verify(cache, progress)
        metadata = CacheMetadata.read(cache)
        lock.check()
        _drop_shards(metadata, found)
        obstacles = sorted({*_leftovers(metadata, found, prune), *_obstacles(metadata, found)})
        _remove(cache / name for name in obstacles)
    finally:
        lock.release()
    return Repair(
        found=found,
        dropped_shards=tuple((bad.segment, bad.shard) for bad in found.bad_shards),
        removed=tuple(obstacles),
        not_repaired=tuple(bad.name for bad in found.bad_files),
        splits=tuple(record.name for record in metadata.manifest.splits),
    )


def _drop_shards(metadata: CacheMetadata, found: Verification) -> None:
    files = {segment.name: SegmentFiles.of(metadata, segment) for segment in metadata.manifest.segments}
    _remove(files[bad.segment].commit_path(bad.shard) for bad in found.bad_shards)
    _remove(path for bad in found.bad_shards for path in files[bad.segment].shard_paths(bad.shard))


def _leftovers(metadata: CacheMetadata, found: Verification, prune: bool) -> Iterator[str]:
    """Strays that losa itself has left: temporary files and, with ``prune``, dropped segments and splits."""
    manifest, root = metadata.manifest, metadata.store.root
    known = {
        *(f"{root}/segments/{segment.name}" for segment in manifest.segments),
        *(f"{root}/splits/{record.name}" for record in manifest.splits),
    }
    for name in found.strays:
        parts = name.split("/")
        folder = "/".join(parts[:3])
        if prune and len(parts) > 3 and parts[1] in ("segments", "splits") and folder not in known:
            yield folder
        elif name.endswith(TEMPORARY_SUFFIX):
            yield name


def _obstacles(metadata: CacheMetadata, found: Verification) -> Iterator[str]:
    """Files where the cache has folders, and folders where it has files, which would block a writer."""
    cache, manifest = metadata.path, metadata.manifest
    if not isinstance(cache, Path):
        return  # a bucket has no folders
    segments = [SegmentFiles.of(metadata, segment) for segment in manifest.segments]
    folders = {
        folder
        for name in (*manifest.files, *(files.record_name(0) for files in segments))
        for folder in accumulate(name.split("/")[:-1], "{}/{}".format)
    }
    yield from (name for name in found.strays if name in folders)
    yield from (bad.name for bad in found.bad_files if (cache / bad.name).is_dir())


def _remove(paths: Iterable[CachePath]) -> None:
    """Remove files and folders; a local removal survives a power cut."""
    touched = set()
    for path in paths:
        remove_tree(path)
        if isinstance(path, Path):
            touched.add(path.parent)
    for folder in sorted(touched):
        if folder.is_dir():
            sync_folder(folder)
