"""Merging of caches with the same identity that hold different splits or different shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from losa.cache_format import Cache, CacheError, CacheWriter, Segment
from losa.cache_format.common.comparison import differences
from losa.cache_format.contents import Placement, SplitContents, StoredSegment, unused_name
from losa.cache_format.copies import CacheContents
from losa.cache_format.errors import IdentityMismatch
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.survey import split_record
from losa.pipelines.cache.destination import refuse_entangled
from losa.pipelines.cache.shards import committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The result of a merge."""

    copied: int
    """Number of shards copied by this run."""
    missing: int
    """Number of shards that no source has."""


def merge_caches(
    sources: Sequence[Cache], destination: CachePath, progress: Callable[[int, int], None]
) -> Merged:
    """Copy shards of all sources into one cache. Shards that exist there already are kept.

    Args:
        sources: caches with the same features, store, compressor and labels.
        destination: folder of the merged cache; it may hold the unfinished result of the same merge.
        progress: called with the number of shards done, and the number of all shards.

    Raises:
        IdentityMismatch: the sources have different identities, or the destination is another cache.
        CacheError: the sources contradict each other about a split or a label, or the destination is not
            apart from them.
    """
    refuse_entangled(destination, sources)
    contents, origins = _joined(sources)
    with CacheWriter(destination, contents) as writer:
        missing = writer.missing()
        records = {
            name: [(cache, original, committed(cache, original)) for cache, original in having]
            for name, having in origins.items()
        }
        copied = 0
        for done, (segment, shard) in enumerate(missing):
            progress(done, len(missing))
            for cache, original, commits in records[segment.name]:
                if shard in commits:
                    source = SegmentFiles.of(cache.metadata, original)
                    writer.copy(source, segment, commits[shard])
                    copied += 1
                    break
        progress(len(missing), len(missing))
    return Merged(copied=copied, missing=len(missing) - copied)


_Origins = dict[str, list[tuple[Cache, Segment]]]
"""Segment of the result -> the caches that have it, and the segment in each of them."""


def _joined(sources: Sequence[Cache]) -> tuple[CacheContents, _Origins]:
    first = sources[0].manifest
    segments: list[StoredSegment] = []
    origins: _Origins = {}
    place_of: dict[str, tuple[int, int]] = {}
    label_of: dict[tuple[str, str], int] = {}
    splits: dict[str, tuple[Cache, SplitContents]] = {}
    for cache in sources:
        _refuse_other(sources[0], cache)
        contents = CacheContents.of(cache)
        for entry in contents.placement.segments:
            _refuse_other_labels(cache, entry, label_of)
            known = next((one for one in segments if _same(one.segment, entry.segment)), None)
            if known is None and any(key not in place_of for key in entry.keys):
                name = unused_name(entry.segment.name, [one.segment.name for one in segments])
                known = replace(entry, segment=replace(entry.segment, name=name, number=len(segments)))
                segments.append(known)
                for row, key in enumerate(entry.keys):
                    place_of.setdefault(key, (known.segment.number, row))
            if known is not None:
                origins.setdefault(known.segment.name, []).append((cache, entry.segment))
        for record in cache.manifest.splits:
            split = SplitContents(name=record.name, keys=cache.keys(record.name), rule=record.rule)
            if record.name in splits and splits[record.name][1].keys != split.keys:
                raise CacheError(
                    f"split {record.name!r} has other images in {cache.path} than in "
                    f"{splits[record.name][0].path}: such caches cannot be merged"
                )
            splits[record.name] = (cache, split)
    indices = {
        name: np.array([place_of[key] for key in split.keys], np.int64) for name, (_, split) in splits.items()
    }
    manifest = replace(
        first,
        segments=tuple(entry.segment for entry in segments),
        splits=tuple(split_record(split, indices[name]) for name, (_, split) in splits.items()),
        files={},
    )
    placement = Placement(segments=tuple(segments), indices=indices)
    return CacheContents(manifest=manifest, placement=placement, constants=sources[0].constants), origins


def _same(one: Segment, other: Segment) -> bool:
    """Whether two segments have the same shards."""
    return (one.keys_sha256, one.rows_per_shard, one.labels_sha256) == (
        other.keys_sha256,
        other.rows_per_shard,
        other.labels_sha256,
    )


def _refuse_other(first: Cache, cache: Cache) -> None:
    ours, theirs = first.manifest, cache.manifest
    found = differences(ours.features, theirs.features)
    for field in ("dataset", "store", "compressor", "labels"):
        found += differences({field: getattr(ours, field)}, {field: getattr(theirs, field)})
    if found:
        raise IdentityMismatch(
            cache.path,
            found,
            f"Only caches with the same identity can be merged ({first.path} is the first). If only their "
            "calibration differs, they were calibrated on different images: convert both to a codec without "
            "calibration (losa-cache convert --codec bfloat16), or extract all splits with one command.",
        )


def _refuse_other_labels(cache: Cache, entry: StoredSegment, label_of: dict[tuple[str, str], int]) -> None:
    for column, labels in entry.labels.items():
        for key, label in zip(entry.keys, labels.tolist(), strict=True):
            if label_of.setdefault((column, key), label) != label:
                raise CacheError(
                    f"image {key!r} has {column} {label} in {cache.path}, but {label_of[column, key]} in "
                    "another of these caches"
                )
