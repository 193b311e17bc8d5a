"""Creates a cache, or takes up one that an earlier run has begun."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import numpy as np

from losa.cache_format.constants import write_constants
from losa.cache_format.contents import NewSegment
from losa.cache_format.errors import CorruptCache
from losa.cache_format.index import write_index
from losa.cache_format.keys import write_keys
from losa.cache_format.labels import write_labels
from losa.cache_format.lock import WriterLock
from losa.cache_format.manifest import Manifest, Segment
from losa.cache_format.paths import arrays_folder
from losa.cache_format.publish import make_folder
from losa.cache_format.segment_files import SegmentFiles
from losa.cache_format.shard_writer import ShardWriter, writing_shard
from losa.cache_format.survey import CacheRequest, Survey, survey
from losa.cache_format.zarr_layout import write_array_metadata, write_group

_log = logging.getLogger(__name__)


class CacheWriter:
    """The one writer of a cache. Use as a context manager: it holds the cache's lock."""

    def __init__(self, path: Path, request: CacheRequest, constants: Mapping[str, np.ndarray]) -> None:
        """Create the cache at ``path``, or open it to resume or to add splits.

        Args:
            path: folder of the cache.
            request: what it is to be and to hold.
            constants: the arrays whose hashes stand in the request's features.

        Raises:
            IdentityMismatch: the cache is of other features, labels or images.
            CacheInUse: another process is writing to it.
            CacheError: the folder holds something else.
        """
        self.path = path
        survey(path, request)  # before anything is made: a refused folder stays as it is
        make_folder(path)
        self._lock = WriterLock(path)
        try:
            surveyed = survey(path, request)
            self.manifest = surveyed.manifest
            self._requested = surveyed.segments
            if not surveyed.exists:
                self._write_foundations(constants)
            self._add(surveyed)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def files(self, segment: Segment) -> SegmentFiles:
        """The files of one segment."""
        return SegmentFiles.of(self.path, self.manifest, segment)

    def missing(self, *, remake_invalid: bool = False) -> list[tuple[Segment, int]]:
        """Shards of the requested splits that are not committed; see `missing_shards`."""
        return missing_shards(self.path, self.manifest, self._requested, remake_invalid=remake_invalid)

    def shard(self, segment: Segment, shard: int) -> AbstractContextManager[ShardWriter]:
        """Write one shard; see `writing_shard`."""
        return writing_shard(self.files(segment), shard)

    def _write_foundations(self, constants: Mapping[str, np.ndarray]) -> None:
        arrays = arrays_folder(self.path)
        if arrays.exists():  # left by a run that died before there was a manifest; it holds no shard
            shutil.rmtree(arrays)
        for folder in (arrays, arrays / "segments", arrays / "splits"):
            write_group(folder)
        write_constants(self.path, constants)

    def _add(self, surveyed: Survey) -> None:
        """Write what the placement asks for; with the manifest, written last, it counts."""
        for entry in surveyed.placement.segments:
            self._write_segment(self.files(entry.segment), entry)
        for name, index in surveyed.placement.indices.items():
            write_index(self.path, name, index)
        if surveyed.placement.indices or not surveyed.exists:
            surveyed.manifest.write(self.path)

    def _write_segment(self, files: SegmentFiles, entry: NewSegment) -> None:
        write_group(files.folder)
        rows = files.segment.rows_per_shard
        axes = ["images", "sites", "tokens", "width"]
        write_array_metadata(
            files.folder / "codes",
            shape=files.shape,
            dtype=files.storage,
            chunk=(rows, *files.shape[1:]),
            inner_chunk=(1, *files.shape[1:]),
            axes=axes,
        )
        if files.scaled:
            write_array_metadata(
                files.folder / "scales",
                shape=files.shape[:3],
                dtype="float32",
                chunk=(rows, *files.shape[1:3]),
                axes=axes[:3],
            )
        write_keys(files.folder, entry.keys)
        write_labels(files.folder, entry.labels)


def missing_shards(
    cache: Path, manifest: Manifest, segments: frozenset[str], *, remake_invalid: bool = False
) -> list[tuple[Segment, int]]:
    """Shards that are not committed, in order. A damaged one is logged and counts as missing.

    Args:
        cache: its folder, which need not exist.
        manifest: of the cache.
        segments: names of those to look at.
        remake_invalid: count shards that hold unreadable images as missing too.
    """
    missing = []
    for segment in manifest.segments:
        if segment.name not in segments:
            continue
        files = SegmentFiles.of(cache, manifest, segment)
        for shard in range(segment.shards):
            try:
                commit = files.commit(shard)
            except FileNotFoundError:
                missing.append((segment, shard))
            except CorruptCache as error:
                _log.warning("%s. This shard is made again.", error)
                missing.append((segment, shard))
            else:
                if remake_invalid and commit.invalid:
                    missing.append((segment, shard))
    return missing
