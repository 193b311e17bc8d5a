"""Takes what is damaged out of a cache, so that extraction makes it anew."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX, sync_folder
from losa.cache_format.storage.lock import writer_lock
from losa.cache_format.storage.paths import CachePath, cache_folder
from losa.cache_format.verification import Progress, Verification, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done to a cache, and what is left to do."""

    found: Verification
    """The state before."""
    dropped_shards: tuple[tuple[str, int], ...]
    """Segment and number of each damaged shard. They are missing now."""
    removed: tuple[str, ...]
    """What else was removed, relative to the cache: temporary files, what stood in the place of a file or
    folder of the cache and, to prune, segments and splits that the manifest does not have."""
    not_mended: tuple[str, ...]
    """Damaged or missing small files, relative to the cache. They stay as they are."""
    splits: tuple[str, ...]
    """Names of the splits of the cache."""

    @property
    def left(self) -> tuple[str, ...]:
        """Unknown files that were not touched, relative to the cache. They do no harm."""
        gone = tuple(f"{name}/" for name in self.removed)
        return tuple(
            name for name in self.found.strays if name not in self.removed and not name.startswith(gone)
        )

    @property
    def advice(self) -> tuple[str, ...]:
        """What a person has to do now, as sentences."""
        sentences = []
        if self.dropped_shards or self.found.missing_shards:
            sentences.append("Run the losa-extract command that made the cache: it makes missing shards.")
        if self.not_mended:
            sentences.append(
                "Small files are damaged. Run the losa-extract command that made the cache, with all its "
                f"splits (splits=[{','.join(self.splits)}]): it writes them again and keeps the shards."
            )
        return tuple(sentences)


def repair(path: str | CachePath, progress: Progress | None = None, *, prune: bool = False) -> Repair:
    """Verify a cache, and remove what is damaged and what is left over.

    Of a damaged shard the commit record goes first: killed at any moment, repair leaves a cache in which
    that shard is missing or damaged, never one that is taken for whole. Whole shards are not touched.

    Args:
        path: folder or URL of the cache.
        progress: as of `verify`.
        prune: remove segments and splits that the manifest does not have, too. They may be all that is
            left of somebody's work, if the manifest is an old one.

    Raises:
        CacheError: there is no cache, or its files cannot be read for another reason than damage.
        CacheInUse: another process is writing to the cache.
        CorruptCache: the manifest is damaged. Remove it and run the losa-extract command that made the
            cache: with the same settings it takes over the shards that stand.
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
        not_mended=tuple(bad.name for bad in found.bad_files),
        splits=tuple(record.name for record in metadata.manifest.splits),
    )


def _drop_shards(metadata: CacheMetadata, found: Verification) -> None:
    files = {segment.name: SegmentFiles.of(metadata, segment) for segment in metadata.manifest.segments}
    _remove(files[bad.segment].commit_path(bad.shard) for bad in found.bad_shards)
    _remove(path for bad in found.bad_shards for path in files[bad.segment].shard_paths(bad.shard))


def _leftovers(metadata: CacheMetadata, found: Verification, prune: bool) -> Iterator[str]:
    """Strays that losa itself has left: temporary files; to prune, segments and splits that are gone."""
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
    """Files where the cache has folders, folders where it has files: nothing could be written there."""
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
        if not isinstance(path, Path):
            if path.exists():
                path.fs.rm(path.path, recursive=True)
        elif path.is_dir():
            shutil.rmtree(path)
            touched.add(path.parent)
        elif path.exists():
            path.unlink()
            touched.add(path.parent)
    for folder in sorted(touched):
        if folder.is_dir():
            sync_folder(folder)
