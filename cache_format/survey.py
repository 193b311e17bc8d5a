"""Compares a request with an existing cache and finds what has to be added. Nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
from jaxtyping import Int64

from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.distinct import distinct
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.units import counted
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
from losa.cache_format.metadata.label_columns import MergedColumn, merge_column
from losa.cache_format.metadata.labels import MISSING_LABEL, read_labels
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
    """Name of the data set, for people."""
    features: FeatureIdentity
    labels: Sequence[LabelColumn]
    """The label columns, which each of the splits may have or lack."""
    splits: Sequence[SplitContents]
    """The splits, in the order in which new images are stored."""
    rows_per_shard: int
    """Number of images in a shard, at least 1."""
    provenance: dict[str, str]
    """Versions, hardware and origin of the weights, if the cache is begun: shown, but never compared."""
    store: StoreName = "zarr"
    compressor: CompressorName | None = None
    """Lossless compression of the codes, image by image; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitChange:
    """How the images of a stored split differ from those of the data set now."""

    added: int
    """Number of images that the split did not have."""
    left: int
    """Number of images that are no longer in it. What is stored of them is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The state of a cache compared with a request."""

    metadata: CacheMetadata
    """Metadata of the cache once the request is met. Metadata files to be written have no records yet."""
    published: Manifest | None
    """The manifest that the cache has; None if it is to be begun, or begun anew."""
    placement: Placement
    """Segments and splits to be added."""
    restored: Placement
    """Existing segments and splits that can be written again; empty unless metadata files are damaged."""
    damaged: Mapping[str, CorruptCache]
    """Damaged metadata files: name -> problem."""
    segments: frozenset[str]
    """Names of the segments that hold images of the requested splits."""
    changes: Mapping[str, SplitChange] = field(default_factory=dict)
    """Changes of stored splits whose images are others now: name of the split -> its change."""

    @property
    def is_written(self) -> bool:
        """Whether the manifest and the metadata files of the request exist, undamaged."""
        return not self.damaged and self.metadata.manifest == self.published

    def keys(self, segment: Segment) -> Sequence[str]:
        """Keys of a segment, even if their file is damaged or not written yet."""
        for entry in (*self.placement.segments, *self.restored.segments):
            if entry.segment.name == segment.name:
                return entry.keys
        return read_keys(self.metadata, segment)


def survey_cache(path: CachePath, request: CacheRequest) -> Survey:
    """Compare a request with the cache at ``path``, which need not exist.

    A cache without a shard commits to nothing: whatever it was begun for, it is begun anew.

    Raises:
        IdentityMismatch: the cache is of other features, labels or images.
        CorruptCache: metadata files are damaged and their contents do not follow from the request.
        CacheError: the folder is not empty and not a cache.
        LosaError: two splits give one image different labels.
    """
    refuse_foreign(path, request.store, request.features)
    published = Manifest.read(path) if has_shards(path) else None
    if published is not None:
        metadata = CacheMetadata(path, published)
        columns = _merged_columns(metadata, request)
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
        columns = {}
    manifest = metadata.manifest
    splits = [_relabelled(split, columns) for split in request.splits]
    stored_as = {record.name: record for record in manifest.splits}
    same = [
        split
        for split in splits
        if split.name in stored_as and stored_as[split.name].keys_sha256 == split.keys_sha256
    ]
    unchanged = {split.name for split in same}
    placed = [split for split in splits if split.name not in unchanged]
    changed = [split for split in placed if split.name in stored_as]
    damaged = metadata.damaged_files()
    # The files of changed splits are replaced, and may have been already when an earlier run was killed.
    replaced = tuple(f"{metadata.store.root}/splits/{split.name}/" for split in changed)
    damaged = {name: error for name, error in damaged.items() if not name.startswith(replaced)}
    if damaged:
        restored = _replay(metadata, splits, request.rows_per_shard, damaged)
        stored: Sequence[StoredSegment] = restored.segments
        indices = {split.name: restored.indices[split.name] for split in same}
    else:
        restored = Placement(segments=(), indices={})
        indices = {split.name: read_index(metadata, stored_as[split.name]) for split in same}
        stored = stored_segments(metadata) if placed else []
        _refuse_other_labels(metadata, same, indices)
    changes = {split.name: _change(metadata, stored, stored_as[split.name], split) for split in changed}
    labels = tuple(columns[column.name].column if columns else column for column in manifest.labels)
    placement = place(placed, columns=labels, stored=stored, rows_per_shard=request.rows_per_shard)
    indices |= placement.indices
    records = {split.name: split_record(split, placement.indices[split.name]) for split in placed}
    extended = replace(
        manifest,
        labels=labels,
        segments=(*manifest.segments, *(entry.segment for entry in placement.segments)),
        splits=(
            *(records.pop(record.name, record) for record in manifest.splits),
            *records.values(),
        ),
    )
    numbers = distinct(np.concatenate([indices[split.name][:, 0] for split in splits]))
    return Survey(
        metadata=CacheMetadata(path, extended),
        published=published,
        placement=placement,
        restored=restored,
        damaged=damaged,
        segments=frozenset(one.name for one in extended.segments if one.number in numbers),
        changes=changes,
    )


def has_shards(path: CachePath) -> bool:
    """Whether there is a manifest at ``path``, damaged or not, and beside it a commit record."""
    if not has_manifest(path):
        return False
    return any(next(_records(path, store), None) is not None for store in get_args(StoreName))


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
        rule=split.rule,
    )


def _replay(
    metadata: CacheMetadata,
    requested: Sequence[SplitContents],
    rows_per_shard: int,
    damaged: Mapping[str, CorruptCache],
) -> Placement:
    """Reconstruct the cache's segments and splits from the requested splits.

    Raises:
        CorruptCache: they do not follow from the request.
    """
    manifest = metadata.manifest
    asked = {split.name: split for split in requested}
    splits = [asked[record.name] for record in manifest.splits if record.name in asked]
    replayed = place(splits, columns=manifest.labels, stored=[], rows_per_shard=rows_per_shard)
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
                f"{metadata.path}: {counted(len(damaged), 'file is', 'files are')} damaged:",
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
    return sorted(_records(path, store), key=str)


def _records(path: CachePath, store: StoreName) -> Iterator[CachePath]:
    segments = path / make_store(store).root / "segments"
    if segments.exists():
        for pattern in ("*/commit.*.json", "*/*/commit.*.json"):  # unlike **, * enters symbolic links
            yield from segments.glob(pattern)


def _merged_columns(metadata: CacheMetadata, request: CacheRequest) -> dict[str, MergedColumn]:
    """The label columns of the cache with those of the request; other differences are refused."""
    existing = metadata.manifest
    found = differences(request.features, existing.features)
    found += differences(
        {"dataset": request.dataset, "store": request.store, "compressor": request.compressor},
        {"dataset": existing.dataset, "store": existing.store, "compressor": existing.compressor},
    )
    requested = {column.name: column for column in request.labels}
    columns = {}
    for column in existing.labels:
        if column.name in requested:
            merged = merge_column(column, requested[column.name])
            if merged is not None:
                columns[column.name] = merged
    found += differences(
        {f"labels.{name}": column for name, column in requested.items() if name not in columns},
        {f"labels.{column.name}": column for column in existing.labels if column.name not in columns},
    )
    rules = {split.name: split.rule for split in request.splits}
    for record in existing.splits:
        wanted_rule = rules.get(record.name, record.rule)
        if record.rule != wanted_rule:
            found.append(Difference(f"splits.{record.name}.rule", wanted_rule, record.rule))
    for segment in existing.segments:
        wanted = min(request.rows_per_shard, segment.images)
        if segment.rows_per_shard != wanted:
            found.append(Difference(f"{segment.name}.rows_per_shard", wanted, segment.rows_per_shard))
    if found:
        raise IdentityMismatch(metadata.path, found, _OTHER_CACHE)
    return columns


def _relabelled(split: SplitContents, columns: Mapping[str, MergedColumn]) -> SplitContents:
    """The split with the label numbers of the cache."""
    if columns.keys().isdisjoint(split.labels):
        return split
    labels = {
        name: columns[name].apply(values) if name in columns else values
        for name, values in split.labels.items()
    }
    return replace(split, labels=labels)


def _change(
    metadata: CacheMetadata, stored: Sequence[StoredSegment], record: SplitRecord, split: SplitContents
) -> SplitChange:
    """Compare the images of a stored split with those of the request.

    Raises:
        IdentityMismatch: fewer than half of the stored images are left, and most are others: it is another
            data set.
    """
    keys_of = {entry.segment.number: entry.keys for entry in stored}
    try:
        before = [keys_of[number][row] for number, row in read_index(metadata, record).tolist()]
    except CorruptCache:  # replaced by a run that was killed before it wrote the manifest
        before = [key for entry in stored if entry.segment.name == record.name for key in entry.keys]
    now = set(split.keys)
    kept = sum(key in now for key in before)
    added = len(now) - kept
    if 2 * kept < len(before) and kept < added:
        found = f"{kept:,} of the {len(before):,} images in the cache"
        raise IdentityMismatch(
            metadata.path,
            [Difference(f"splits.{split.name}", "the images of one data set, some more or fewer", found)],
            f"The data set has {len(split.keys):,} images in this split, most of them others. {_OTHER_CACHE}",
        )
    return SplitChange(added=added, left=len(before) - kept)


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
            for number in distinct(index[:, 0]).tolist():
                mine = index[:, 0] == number
                stored = read_labels(metadata, by_number[number], column)
                labelled = values[mine] != MISSING_LABEL  # another split may label the others
                if not np.array_equal(values[mine][labelled], stored[index[mine, 1]][labelled]):
                    name = f"splits.{split.name}.labels.{column}"
                    found.append(Difference(name, "the labels of the data set", "other labels"))
                    break
    if found:
        raise IdentityMismatch(metadata.path, found, _OTHER_CACHE)
