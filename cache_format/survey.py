"""Compares what is asked for with what a cache holds, and says what would have to be added. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from losa.cache_format.contents import Placement, SplitContents, place
from losa.cache_format.errors import CacheError, Difference, IdentityMismatch
from losa.cache_format.identity import FeatureIdentity, differences, hash_array
from losa.cache_format.index import read_index
from losa.cache_format.keys import read_keys
from losa.cache_format.labels import read_labels
from losa.cache_format.lock import LOCK_NAME
from losa.cache_format.manifest import MANIFEST_NAME, LabelColumn, Manifest, SplitRecord
from losa.cache_format.paths import ARRAYS_NAME, arrays_folder, segment_folder
from losa.cache_format.publish import TEMPORARY_SUFFIX

_ADVICE = "Choose another cache=..., or remove this one if it is stale."


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """What somebody wants a cache to be and to hold."""

    dataset: str
    features: FeatureIdentity
    labels: Sequence[LabelColumn]
    splits: Sequence[SplitContents]
    rows_per_shard: int
    provenance: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A cache as it will be once the request is met."""

    manifest: Manifest
    exists: bool
    """Whether there is a manifest already."""
    placement: Placement
    """What has to be added."""
    segments: frozenset[str]
    """Names of the segments in which the requested splits have images."""


def survey(path: Path, request: CacheRequest) -> Survey:
    """Look at the cache at ``path``, or at the empty place where one is to be.

    Raises:
        IdentityMismatch: the cache is of other features, labels or images.
        CacheError: the folder holds something else.
        LosaError: two splits contradict each other about a label.
    """
    _refuse_foreign(path)
    exists = (path / MANIFEST_NAME).exists()
    if exists:
        manifest = Manifest.read(path)
        _refuse_other(path, manifest, request)
    else:
        manifest = Manifest(
            dataset=request.dataset,
            features=request.features,
            labels=tuple(request.labels),
            segments=(),
            splits=(),
            provenance=request.provenance,
        )
    known = {record.name for record in manifest.splits}
    new = [split for split in request.splits if split.name not in known]
    placement = place(
        new,
        columns=manifest.labels,
        stored_keys=_stored_keys(path, manifest) if new else [],
        stored_labels={column.name: _stored_labels(path, manifest, column.name) for column in manifest.labels}
        if new
        else {},
        taken_names=[segment.name for segment in manifest.segments],
        rows_per_shard=request.rows_per_shard,
    )
    extended = replace(
        manifest,
        segments=(*manifest.segments, *(entry.segment for entry in placement.segments)),
        splits=(*manifest.splits, *(_record(split, placement.indices[split.name]) for split in new)),
    )
    indices = [
        placement.indices[split.name]
        if split.name in placement.indices
        else read_index(path, manifest.split(split.name))
        for split in request.splits
    ]
    ends = np.cumsum([segment.images for segment in extended.segments])
    numbers = np.unique(np.searchsorted(ends, np.concatenate(indices), side="right"))
    return Survey(
        manifest=extended,
        exists=exists,
        placement=placement,
        segments=frozenset(extended.segments[number].name for number in numbers),
    )


def _record(split: SplitContents, index: Int64[np.ndarray, "images"]) -> SplitRecord:
    return SplitRecord(
        name=split.name,
        images=len(split.keys),
        keys_sha256=split.keys_sha256,
        index_sha256=hash_array(index),
    )


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
    if any(arrays_folder(path).glob("segments/*/codes/commit.*.json")):
        raise CacheError(f"{path} holds shards but no {MANIFEST_NAME}: move it away")


def _refuse_other(path: Path, existing: Manifest, request: CacheRequest) -> None:
    found = differences(request.features, existing.features)
    found += differences({"dataset": request.dataset}, {"dataset": existing.dataset})
    found += differences(
        {f"labels.{column.name}": column for column in request.labels},
        {f"labels.{column.name}": column for column in existing.labels},
    )
    known = {record.name: record for record in existing.splits}
    again = [split for split in request.splits if split.name in known]
    for split in again:
        record = known[split.name]
        found += differences(
            {f"splits.{split.name}": {"images": len(split.keys), "keys_sha256": split.keys_sha256}},
            {f"splits.{split.name}": {"images": record.images, "keys_sha256": record.keys_sha256}},
        )
    for segment in existing.segments:
        wanted = min(request.rows_per_shard, segment.images)
        if segment.rows_per_shard != wanted:
            found.append(Difference(f"{segment.name}.rows_per_shard", wanted, segment.rows_per_shard))
    if not found:
        found = [
            Difference(f"splits.{split.name}.labels.{column}", "the labels of the data set", "other labels")
            for split in again
            for column, values in split.labels.items()
            if not np.array_equal(
                values, _stored_labels(path, existing, column)[read_index(path, known[split.name])]
            )
        ]
    if found:
        raise IdentityMismatch(path, found, _ADVICE)


def _stored_keys(path: Path, manifest: Manifest) -> list[str]:
    return [
        key for segment in manifest.segments for key in read_keys(segment_folder(path, segment.name), segment)
    ]


def _stored_labels(path: Path, manifest: Manifest, column: str) -> Int64[np.ndarray, "images"]:
    parts = [
        read_labels(segment_folder(path, segment.name), segment, column) for segment in manifest.segments
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])
