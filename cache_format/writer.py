"""Creates a cache, or takes up one that an earlier run has begun."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from losa.cache_format.constants import write_constants
from losa.cache_format.contents import NewSegment, SplitContents, place
from losa.cache_format.errors import CacheError, CorruptCache, Difference, IdentityMismatch
from losa.cache_format.identity import FeatureIdentity, differences
from losa.cache_format.keys import read_keys, write_keys
from losa.cache_format.labels import read_labels, write_labels
from losa.cache_format.lock import LOCK_NAME, WriterLock
from losa.cache_format.manifest import MANIFEST_NAME, LabelColumn, Manifest, Segment
from losa.cache_format.paths import ARRAYS_NAME, arrays_folder, segment_folder, split_folder
from losa.cache_format.publish import TEMPORARY_SUFFIX, make_folder
from losa.cache_format.segment_files import SegmentFiles
from losa.cache_format.shard_writer import ShardWriter, writing_shard
from losa.cache_format.zarr_layout import (
    read_array,
    write_array,
    write_array_metadata,
    write_group,
)

_log = logging.getLogger(__name__)
_ADVICE = "Choose another cache=..., or remove this one if it is stale."


class CacheWriter:
    """The one writer of a cache. Use as a context manager: it holds the cache's lock."""

    def __init__(
        self,
        path: Path,
        *,
        dataset: str,
        features: FeatureIdentity,
        constants: Mapping[str, np.ndarray],
        labels: Sequence[LabelColumn],
        splits: Sequence[SplitContents],
        rows_per_shard: int,
        provenance: Mapping[str, str],
    ) -> None:
        """Create the cache at ``path``, or open it to resume or to add splits.

        Raises:
            IdentityMismatch: the cache is of other features, labels or images.
            CacheInUse: another process is writing to it.
            CacheError: the folder holds something else.
        """
        self.path = path
        _refuse_foreign(path)
        make_folder(path)
        self._lock = WriterLock(path)
        try:
            existing = self._existing()
            if existing is None:
                self._write_foundations(constants)
                existing = Manifest(
                    dataset=dataset,
                    features=features,
                    labels=tuple(labels),
                    segments=(),
                    splits=(),
                    provenance=dict(provenance),
                )
            self._refuse_other(existing, dataset, features, labels, splits, rows_per_shard)
            self.manifest = self._with_splits(existing, splits, rows_per_shard)
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

    def missing(self) -> list[tuple[Segment, int]]:
        """Shards that are not committed, in order. A damaged one is logged and counts as missing."""
        missing = []
        for segment in self.manifest.segments:
            for shard in range(segment.shards):
                try:
                    self.files(segment).commit(shard)
                except FileNotFoundError:
                    missing.append((segment, shard))
                except CorruptCache as error:
                    _log.warning("%s. This shard is made again.", error)
                    missing.append((segment, shard))
        return missing

    def shard(self, segment: Segment, shard: int) -> AbstractContextManager[ShardWriter]:
        """Write one shard; see `writing_shard`."""
        self.files(segment).commit_path(shard).unlink(missing_ok=True)
        return writing_shard(self.files(segment), shard)

    def _existing(self) -> Manifest | None:
        if (self.path / MANIFEST_NAME).exists():
            return Manifest.read(self.path)
        if any(arrays_folder(self.path).glob("segments/*/codes/commit.*.json")):
            raise CacheError(f"{self.path} holds shards but no {MANIFEST_NAME}: move it away")
        return None

    def _write_foundations(self, constants: Mapping[str, np.ndarray]) -> None:
        arrays = arrays_folder(self.path)
        for folder in (arrays, arrays / "segments", arrays / "splits"):
            write_group(folder)
        write_constants(self.path, constants)

    def _refuse_other(
        self,
        existing: Manifest,
        dataset: str,
        features: FeatureIdentity,
        labels: Sequence[LabelColumn],
        splits: Sequence[SplitContents],
        rows_per_shard: int,
    ) -> None:
        found = differences(features, existing.features)
        found += differences({"dataset": dataset}, {"dataset": existing.dataset})
        found += differences(
            {f"labels.{column.name}": column for column in labels},
            {f"labels.{column.name}": column for column in existing.labels},
        )
        known = {record.name: record for record in existing.splits}
        for split in splits:
            if split.name in known:
                record = split.record
                found += differences(
                    {f"splits.{split.name}": record}, {f"splits.{split.name}": known[split.name]}
                )
        for segment in existing.segments:
            if segment.rows_per_shard != rows_per_shard:
                found.append(
                    Difference(f"{segment.name}.rows_per_shard", rows_per_shard, segment.rows_per_shard)
                )
        if found:
            raise IdentityMismatch(self.path, found, _ADVICE)
        stale = [
            Difference(f"splits.{split.name}.labels.{column}", "the labels of the data set", "other labels")
            for split in splits
            if split.name in known
            for column, values in split.labels.items()
            if not np.array_equal(values, self._stored_labels(existing, split, column))
        ]
        if stale:
            raise IdentityMismatch(self.path, stale, _ADVICE)

    def _stored_labels(self, manifest: Manifest, split: SplitContents, column: str) -> np.ndarray:
        rows = read_array(split_folder(self.path, split.name) / "index", "int64", [len(split.keys)])
        stored: np.ndarray = self._all_labels(manifest, column)[rows]
        return stored

    def _all_labels(self, manifest: Manifest, column: str) -> np.ndarray:
        return np.concatenate(
            [
                read_labels(segment_folder(self.path, segment.name), segment, column)
                for segment in manifest.segments
            ]
        )

    def _with_splits(
        self, manifest: Manifest, splits: Sequence[SplitContents], rows_per_shard: int
    ) -> Manifest:
        known = {record.name for record in manifest.splits}
        new = [split for split in splits if split.name not in known]
        if not new:
            return manifest
        stored = [
            key
            for segment in manifest.segments
            for key in read_keys(segment_folder(self.path, segment.name), segment)
        ]
        placement = place(
            new,
            columns=[column.name for column in manifest.labels],
            stored_keys=stored,
            stored_labels={column.name: self._all_labels(manifest, column.name) for column in manifest.labels}
            if stored
            else {},
            taken_names=[segment.name for segment in manifest.segments],
            rows_per_shard=rows_per_shard,
        )
        extended = replace(
            manifest,
            segments=(*manifest.segments, *(entry.segment for entry in placement.segments)),
            splits=(*manifest.splits, *(split.record for split in new)),
        )
        for entry in placement.segments:
            self._write_segment(SegmentFiles.of(self.path, extended, entry.segment), entry)
        for name, index in placement.indices.items():
            write_group(split_folder(self.path, name))
            write_array(split_folder(self.path, name) / "index", index, ["images"])
        extended.write(self.path)
        return extended

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


def _refuse_foreign(path: Path) -> None:
    """Refuse to write among somebody's files."""
    if path.exists() and not path.is_dir():
        raise CacheError(f"{path} is a file, not the folder of a cache. {_ADVICE}")
    if not path.exists() or (path / MANIFEST_NAME).exists():
        return
    ours = {LOCK_NAME, ARRAYS_NAME, MANIFEST_NAME + TEMPORARY_SUFFIX}
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    if foreign:
        raise CacheError(f"{path} is not a cache and not empty (it holds {foreign[0]!r}). {_ADVICE}")
