"""Compares a request with an existing cache and finds what has to be added. Nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.contents import Placement, SplitContents, StoredSegment, place
from losa.cache_format.errors import CacheError, CorruptCache, Difference, IdentityMismatch
from losa.cache_format.identity import FeatureIdentity
from losa.cache_format.manifest import (
    MANIFEST_NAME,
    LabelColumn,
    Manifest,
    Segment,
    SplitRecord,
    has_manifest,
)
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.index import read_index
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.metadata.labels import read_labels
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX
from losa.cache_format.storage.lock import LOCK_NAME
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.storage.sealed_json import unseal
from losa.cache_format.stores import StoreName, make_store
from losa.cache_format.views import parse_views_split

_OTHER_CACHE = "Choose another cache=..., or remove this one if it is stale."


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """The requested features, labels and splits of a cache."""

    dataset: str
    features: FeatureIdentity
    labels: Sequence[LabelColumn]
    splits: Sequence[SplitContents]
    rows_per_shard: int
    provenance: dict[str, str]
    store: StoreName = "zarr"
    compressor: CompressorName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The state of a cache compared with a request."""

    metadata: CacheMetadata
    """Metadata of the cache once the request is met. Metadata files to be written have no records yet."""
    exists: bool
    """Whether the cache has a manifest already."""
    placement: Placement
    """Segments and splits to be added."""
    restored: Placement
    """Existing segments and splits that can be written again; empty unless metadata files are damaged."""
    damaged: Mapping[str, CorruptCache]
    """Damaged metadata files: name -> problem."""
    segments: frozenset[str]
    """Names of the segments that hold images of the requested splits."""

    def keys(self, segment: Segment) -> Sequence[str]:
        """Keys of a segment, even if their file is damaged or not written yet."""
        for entry in (*self.placement.segments, *self.restored.segments):
            if entry.segment.name == segment.name:
                return entry.keys
        return read_keys(self.metadata, segment)


def survey_cache(path: CachePath, request: CacheRequest) -> Survey:
    """Compare a request with the cache at ``path``, which need not exist.

    Raises:
        IdentityMismatch: the cache is of other features, labels or images.
        CorruptCache: metadata files are damaged and their contents do not follow from the request.
        CacheError: the folder is not empty and not a cache.
        LosaError: two splits give one image different labels.
    """
    refuse_foreign(path, request.store, request.features)
    exists = has_manifest(path)
    if exists:
        metadata = CacheMetadata.read(path)
        damaged = metadata.damaged_files()
        _refuse_other(metadata, request)
    else:
        manifest = Manifest(
            store=request.store,
            compressor=request.compressor,
            dataset=request.dataset,
            features=request.features,
            labels=tuple(request.labels),
            segments=(),
            splits=(),
            files={},
            provenance=request.provenance,
        )
        metadata = CacheMetadata(path, manifest)
        damaged = {}
    manifest = metadata.manifest
    known = {record.name for record in manifest.splits}
    new = [split for split in request.splits if split.name not in known]
    again = [split for split in request.splits if split.name in known]
    if damaged:
        restored = _replay(metadata, request, damaged)
        stored: Sequence[StoredSegment] = restored.segments
        indices = dict(restored.indices)
    else:
        restored = Placement(segments=(), indices={})
        indices = {split.name: read_index(metadata, manifest.split(split.name)) for split in again}
        stored = stored_segments(metadata) if new else []
        _refuse_other_labels(metadata, again, indices)
    placement = place(new, columns=manifest.labels, stored=stored, rows_per_shard=request.rows_per_shard)
    indices |= placement.indices
    extended = replace(
        manifest,
        segments=(*manifest.segments, *(entry.segment for entry in placement.segments)),
        splits=(*manifest.splits, *(split_record(split, placement.indices[split.name]) for split in new)),
    )
    numbers = np.unique(np.concatenate([indices[split.name][:, 0] for split in request.splits]))
    return Survey(
        metadata=CacheMetadata(path, extended),
        exists=exists,
        placement=placement,
        restored=restored,
        damaged=damaged,
        segments=frozenset(one.name for one in extended.segments if one.number in numbers),
    )


def stored_segments(metadata: CacheMetadata) -> list[StoredSegment]:
    """Keys and labels of every segment of a cache.

    Raises:
        CorruptCache: keys or labels are damaged.
    """
    return [
        StoredSegment(
            segment=segment,
            keys=read_keys(metadata, segment),
            labels={
                column.name: read_labels(metadata, segment, column.name)
                for column in metadata.manifest.labels
            },
        )
        for segment in metadata.manifest.segments
    ]


def split_record(split: SplitContents, index: Int64[np.ndarray, "images two"]) -> SplitRecord:
    """The record of a split in the manifest."""
    return SplitRecord(
        name=split.name,
        images=len(split.keys),
        keys_sha256=split.keys_sha256,
        index_sha256=hash_array(index),
    )


def _replay(metadata: CacheMetadata, request: CacheRequest, damaged: Mapping[str, CorruptCache]) -> Placement:
    """Reconstruct the cache's segments and splits from the request.

    Raises:
        CorruptCache: they do not follow from the request.
    """
    manifest = metadata.manifest
    asked = {split.name: split for split in request.splits}
    splits = [asked[record.name] for record in manifest.splits if record.name in asked]
    replayed = place(splits, columns=manifest.labels, stored=[], rows_per_shard=request.rows_per_shard)
    records = tuple(split_record(split, replayed.indices[split.name]) for split in splits)
    segments = tuple(entry.segment for entry in replayed.segments)
    if (records, segments) == (manifest.splits, manifest.segments):
        return replayed
    names = ",".join(record.name for record in manifest.splits)
    advice = (
        "They can be written again from the data set: run the losa-extract command that made "
        f"the cache, with all its splits (splits=[{names}]). The shards are kept."
    )
    if any(parse_views_split(record.name)[1] > 1 for record in manifest.splits):
        advice += " Views need the view_crop and view_flip they were made with, and no views=..."
    if len(splits) == len(manifest.splits):
        advice = (
            "Their contents do not follow from the data set, because splits were dropped or merged, or "
            "the data set has changed: take these files from a copy of the cache."
        )
    raise CorruptCache(
        "\n".join(
            [
                f"{metadata.path}: {len(damaged)} files are damaged:",
                *(f"  {error}" for error in damaged.values()),
                advice,
            ]
        )
    )


def refuse_foreign(path: CachePath, store: StoreName, features: FeatureIdentity) -> None:
    """Refuse a folder that holds other files than those of a cache with the given features.

    Raises:
        CacheError: the folder is neither empty nor a cache, or holds shards of other features.
    """
    refuse_unreachable(path)
    if not path.exists() or has_manifest(path):
        return
    if not path.is_dir():
        raise CacheError(f"{path} is a file, not the folder of a cache. {_OTHER_CACHE}")
    root = make_store(store).root
    ours = {LOCK_NAME, root, MANIFEST_NAME + TEMPORARY_SUFFIX}
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    if foreign:
        raise CacheError(f"{path} is not a cache and not empty (it holds {foreign[0]!r}). {_OTHER_CACHE}")
    for record in orphaned_records(path, store):
        try:
            belongs = unseal(record.read_bytes(), record).get("features_sha256") == features.sha256
        except CorruptCache:
            continue
        if not belongs:
            raise CacheError(
                f"{path} holds shards but no {MANIFEST_NAME}, and {record} is of other features than those "
                "requested: move the folder away"
            )


def orphaned_records(path: CachePath, store: StoreName) -> list[CachePath]:
    """The commit records below a folder, found by listing and not from its manifest."""
    segments = path / make_store(store).root / "segments"
    if not segments.exists():
        return []
    return sorted(segments.glob("**/commit.*.json"), key=str)


def _refuse_other(metadata: CacheMetadata, request: CacheRequest) -> None:
    existing = metadata.manifest
    found = differences(request.features, existing.features)
    found += differences(
        {"dataset": request.dataset, "store": request.store, "compressor": request.compressor},
        {"dataset": existing.dataset, "store": existing.store, "compressor": existing.compressor},
    )
    found += differences(
        {f"labels.{column.name}": column for column in request.labels},
        {f"labels.{column.name}": column for column in existing.labels},
    )
    known = {record.name: record for record in existing.splits}
    for split in request.splits:
        if split.name in known:
            record = known[split.name]
            found += differences(
                {f"splits.{split.name}": {"images": len(split.keys), "keys_sha256": split.keys_sha256}},
                {f"splits.{split.name}": {"images": record.images, "keys_sha256": record.keys_sha256}},
            )
    for segment in existing.segments:
        wanted = min(request.rows_per_shard, segment.images)
        if segment.rows_per_shard != wanted:
            found.append(Difference(f"{segment.name}.rows_per_shard", wanted, segment.rows_per_shard))
    if found:
        raise IdentityMismatch(metadata.path, found, _OTHER_CACHE)


def _refuse_other_labels(
    metadata: CacheMetadata,
    splits: Sequence[SplitContents],
    indices: Mapping[str, Int64[np.ndarray, "images two"]],
) -> None:
    by_number = {segment.number: segment for segment in metadata.manifest.segments}
    found = []
    for split in splits:
        index = indices[split.name]
        for column, values in split.labels.items():
            for number in np.unique(index[:, 0]).tolist():
                mine = index[:, 0] == number
                stored = read_labels(metadata, by_number[number], column)
                if not np.array_equal(values[mine], stored[index[mine, 1]]):
                    name = f"splits.{split.name}.labels.{column}"
                    found.append(Difference(name, "the labels of the data set", "other labels"))
                    break
    if found:
        raise IdentityMismatch(metadata.path, found, _OTHER_CACHE)
