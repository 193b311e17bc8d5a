"""Refuses to resume from images whose files have changed, which their keys do not show."""

from collections.abc import Container, Sequence

import numpy as np

from losa.cache_format import IdentityMismatch, Segment
from losa.cache_format.clips import source_key
from losa.cache_format.errors import Difference
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.shards.shard_images import ShardImages
from losa.cache_format.survey import Survey
from losa.extract.sources import ImageSource, InvalidImage
from losa.extract.sources.base import hash_source

RECHECKED_IMAGES = 8
"""Number of stored images of each segment that are compared with their files."""


def refuse_changed_images(
    surveyed: Survey, records: CommitRecords, source: ImageSource, known: Container[str]
) -> None:
    """Compare a few images of each segment, spread evenly over the committed shards, with their files.

    Args:
        surveyed: the cache, whose segments need not exist yet.
        records: the commit records of all its segments.
        source: where the images are loaded from now.
        known: keys that the source has now; images with other keys are not compared.

    Raises:
        IdentityMismatch: the bytes of an image differ from those that were extracted.
    """
    for segment in records.segments:
        shards = records.committed(segment)
        keys = surveyed.keys(segment) if shards else []
        for key, stored in _sample(segment, keys, shards, known):
            try:
                found = hash_source(source.read(source_key(key))).hex()
            except InvalidImage as error:
                found = str(error)
            if stored.hex() != found:
                raise IdentityMismatch(
                    surveyed.metadata.path,
                    [Difference(f"blake2b of image {key}", found, stored.hex())],
                    "The image has changed since it was extracted: choose another cache=...",
                )


def _sample(
    segment: Segment, keys: Sequence[str], shards: Sequence[ShardImages], known: Container[str]
) -> list[tuple[str, bytes]]:
    """Key and source hash of readable images that are spread over the committed shards."""
    by_number = {images.shard: images for images in shards}
    rows = np.fromiter(
        (
            row
            for images in shards
            for position, row in enumerate(segment.rows(images.shard))
            if keys[row] in known and (not images.invalid or images.valid(position))
        ),
        np.int64,
    )
    count = min(RECHECKED_IMAGES, len(rows))
    # From the first to the last, both included.
    chosen = [int(rows[index * (len(rows) - 1) // max(1, count - 1)]) for index in range(count)]
    places = [divmod(row, segment.rows_per_shard) for row in chosen]
    return [
        (keys[row], by_number[shard].source_hash(position))
        for row, (shard, position) in zip(chosen, places, strict=True)
    ]
