"""Creates a cache, or opens an existing one to complete or extend it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import get_args

import numpy as np

from losa.cache_format.contents import Placement
from losa.cache_format.copies import CacheContents
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import MANIFEST_NAME, Manifest, Segment, has_manifest
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata_files import foundation_metadata, segment_metadata, split_metadata
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_copy import copy_shard
from losa.cache_format.shards.shard_images import ShardImages
from losa.cache_format.shards.shard_writer import ShardWriter, writing_shard
from losa.cache_format.shards.statistics import SiteStatistics, total_statistics
from losa.cache_format.storage.atomic_writes import make_folder, publish_files, sync_folder
from losa.cache_format.storage.file_record import record_of
from losa.cache_format.storage.lock import writer_lock
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.removal import remove_tree
from losa.cache_format.stores import StoreName, make_store
from losa.cache_format.survey import CacheRequest, Survey, orphaned_records, survey_cache

_log = logging.getLogger(__name__)


class CacheWriter:
    """The only writer of a cache: it holds the cache's lock. Use it as a context manager."""

    def __init__(
        self,
        path: CachePath,
        request: CacheRequest | CacheContents,
        constants: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Create the cache at ``path``, or open it to resume or to add splits.

        Damaged metadata files are written again if their contents follow from the request.

        Args:
            path: folder of the cache; created if missing.
            request: the requested cache: splits to be placed, or the contents of another cache.
            constants: the arrays whose hashes are in the request's features, float32, by name: ``centre`` and
                ``spread``, ``(sites, width)``, ``final_norm.weight`` and ``final_norm.bias``, ``(width,)``.
                `CacheContents` have their own.

        Raises:
            IdentityMismatch: the cache is of other features, labels or images.
            CacheInUse: another process is writing to the cache.
            CacheError: the folder is not empty and not a cache.
            CorruptCache: metadata files are damaged and cannot be written again.
            LosaError: two splits, or a split and the cache, give one image different labels, or a label is
                out of the range of its column.
        """

        def look() -> Survey:
            return survey_cache(path, request) if isinstance(request, CacheRequest) else request.survey(path)

        if isinstance(request, CacheContents):
            constants = request.constants
        if not has_manifest(path):
            look()  # before anything is written: a refused folder is not changed
        self._statistics: dict[str, dict[int, Sequence[SiteStatistics]]] = {}
        make_folder(path)
        self._lock = writer_lock(path)
        try:
            surveyed = look()
            self._requested = surveyed.segments
            self.metadata = self._write_metadata(surveyed, constants or {})
        except BaseException:
            self._lock.release()
            raise

    @property
    def path(self) -> CachePath:
        """Folder of the cache."""
        return self.metadata.path

    @property
    def manifest(self) -> Manifest:
        """The manifest as it is on disk."""
        return self.metadata.manifest

    @property
    def requested(self) -> tuple[Segment, ...]:
        """The segments that hold images of the requested splits."""
        return tuple(one for one in self.manifest.segments if one.name in self._requested)

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def files(self, segment: Segment) -> SegmentFiles:
        """The files of one segment.

        Args:
            segment: a segment of the manifest.
        """
        return SegmentFiles.of(self.metadata, segment)

    def missing(
        self, *, remake: Callable[[Segment, ShardImages], bool] = lambda _segment, _images: False
    ) -> list[tuple[Segment, int]]:
        """Shards of the requested splits that are not committed, in order.

        Their commit records are read now, under the lock: another process may have written since they were
        last read. A damaged shard is logged and counts as missing.

        Args:
            remake: whether a shard that holds invalid images counts as missing too.

        Returns:
            Segment and number of each shard.
        """
        records = CommitRecords.read(self.metadata, self._requested)
        self._statistics = {name: dict(measured) for name, measured in records.statistics.items()}
        return records.missing(remake=remake)

    def statistics(self) -> list[SiteStatistics]:
        """Statistics of each site over all committed shards, as `Cache.statistics` returns them.

        Records that `missing` has read or that this writer has written are not read again.

        Raises:
            CorruptCache: a commit record of a split that was not requested is damaged.
        """
        parts: list[Sequence[SiteStatistics]] = []
        for segment in self.manifest.segments:
            known = self._statistics.get(segment.name)
            if known is None:
                parts += [record.statistics for record in self.files(segment).committed()]
            else:
                parts += [known[shard] for shard in sorted(known)]
        return total_statistics(parts, len(self.manifest.features.group.sites))

    @contextmanager
    def shard(self, segment: Segment, shard: int) -> Iterator[ShardWriter]:
        """Write one shard, which is committed if the block ends without an error.

        Args:
            segment: a segment of the manifest.
            shard: number of the shard.

        Yields:
            What rows are appended to, in the order of the segment, all of the shard's.

        Raises:
            CacheInUse: another process has taken over the cache. Nothing is committed.
            CacheError: the disk is full. Committed shards are kept.
        """
        with writing_shard(self.files(segment), shard, self._lock.check) as out:
            yield out
        self._committed(segment, shard, out.statistics)

    def copy(self, source: SegmentFiles, segment: Segment, commit: Commit) -> None:
        """Copy a committed shard of another cache, file by file and unchanged.

        Args:
            source: files of the segment that has the shard, in the other cache.
            segment: the same segment in this cache, where it may have another name.
            commit: the record of the shard in the other cache.

        Raises:
            CacheInUse: another process has taken over the cache. Nothing is committed.
            CorruptCache: the other cache is damaged. Nothing is committed.
            CacheError: the disk is full.
        """
        copy_shard(source, self.files(segment), commit, self._lock.check)
        self._committed(segment, commit.shard, commit.statistics)

    def _committed(self, segment: Segment, shard: int, statistics: Sequence[SiteStatistics]) -> None:
        if segment.name in self._statistics:
            self._statistics[segment.name][shard] = statistics

    def _write_metadata(self, surveyed: Survey, constants: Mapping[str, np.ndarray]) -> CacheMetadata:
        """Write the metadata files that are missing or damaged, and the manifest after them."""
        metadata = surveyed.metadata
        path, manifest, store = metadata.path, metadata.manifest, metadata.store
        files = _placed(metadata, surveyed.placement)
        if surveyed.published is None:
            _clear(path, store.name)
            files = foundation_metadata(store, constants) | files
        extended = replace(
            manifest,
            files=manifest.files | {name: record_of(content) for name, content in files.items()},
        )
        if surveyed.damaged:
            whole = foundation_metadata(store, constants) | _placed(metadata, surveyed.restored)
            for name, error in surveyed.damaged.items():
                if name not in whole or record_of(whole[name]) != manifest.files[name]:
                    raise CorruptCache(
                        f"{error}\nIt cannot be written again: this losa writes that file with other bytes. "
                        "Take it from a copy of the cache, or choose another cache=..."
                    )
                _log.warning("%s. It is written again.", error)
            files |= {name: whole[name] for name in surveyed.damaged}
        self._lock.check()
        publish_files(path, files)
        self._lock.check()
        if extended != surveyed.published:
            extended.write(path)
        return replace(metadata, manifest=extended)


def _clear(path: CachePath, store: StoreName) -> None:
    """Remove what a run left that died before its first shard. Shards whose manifest was lost are kept.

    The manifest goes first: one whose files are gone would be that of a damaged cache.
    """
    if orphaned_records(path, store):
        return
    (path / MANIFEST_NAME).unlink(missing_ok=True)
    if not isinstance(path, Path):
        return  # objects of the same names are overwritten
    sync_folder(path)
    for name in get_args(StoreName):
        arrays = path / make_store(name).root
        # A link, by which somebody keeps the arrays on another disk, stays.
        for found in list(arrays.iterdir()) if arrays.is_symlink() and arrays.is_dir() else [arrays]:
            remove_tree(found)


def _placed(metadata: CacheMetadata, placement: Placement) -> dict[str, bytes]:
    """Metadata files of the segments and splits of a placement."""
    files: dict[str, bytes] = {}
    for entry in placement.segments:
        files |= segment_metadata(metadata, entry)
    for name, index in placement.indices.items():
        files |= split_metadata(metadata.store, name, index)
    return files
