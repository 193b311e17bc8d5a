"""Refuses to resume from images whose files have changed, which their keys do not show."""

from collections.abc import Container, Sequence

from losa.cache_format import IdentityMismatch, Segment
from losa.cache_format.errors import Difference
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.survey import Survey
from losa.cache_format.views import parse_key
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
        commits = records.committed(segment)
        keys = surveyed.keys(segment) if commits else []
        for key, row, commit in _sample(segment, keys, commits, known):
            stored = commit.source_hash(row).hex()
            try:
                found = hash_source(source.read(parse_key(key)[0])).hex()
            except InvalidImage as error:
                found = str(error)
            if stored != found:
                raise IdentityMismatch(
                    surveyed.metadata.path,
                    [Difference(f"blake2b of image {key}", found, stored)],
                    "The image has changed since it was extracted: choose another cache=...",
                )


def _sample(
    segment: Segment, keys: Sequence[str], commits: Sequence[Commit], known: Container[str]
) -> list[tuple[str, int, Commit]]:
    """Key, row in its shard, and shard, of readable images that are spread over the committed shards."""
    rows = [
        (keys[row], position, commit)
        for commit in commits
        for position, row in enumerate(segment.rows(commit.shard))
        if keys[row] in known and commit.valid(position)
    ]
    count = min(RECHECKED_IMAGES, len(rows))
    # From the first to the last, both included.
    return [rows[index * (len(rows) - 1) // max(1, count - 1)] for index in range(count)]
