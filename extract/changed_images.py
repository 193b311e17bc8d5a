"""Keys stay when pictures are exchanged; this looks at the pictures."""

from collections.abc import Container, Sequence

from losa.cache_format import IdentityMismatch, Segment
from losa.cache_format.errors import Difference
from losa.cache_format.shards.commit import SOURCE_HASH_BYTES, Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.survey import Survey
from losa.extract.sources import ImageSource, InvalidImage

RECHECKED_IMAGES = 8
"""Stored images of each segment that are compared with their files when a cache is opened again."""


def refuse_changed_images(surveyed: Survey, source: ImageSource, known: Container[str]) -> None:
    """Compare a few images of each segment, taken evenly from what is committed, with their files.

    Args:
        surveyed: the cache; segments need not exist yet.
        source: where the images are now.
        known: keys that the source lists now; others are left out.

    Raises:
        IdentityMismatch: the bytes of an image are not those it was extracted from.
    """
    digits = 2 * SOURCE_HASH_BYTES
    metadata = surveyed.metadata
    for segment in metadata.manifest.segments:
        files = SegmentFiles.of(metadata, segment)
        commits = [commit for commit in files.commits(range(segment.shards)) if isinstance(commit, Commit)]
        keys = surveyed.keys(segment) if commits else []
        for key, row, commit in _sample(segment, keys, commits, known):
            stored = commit.source_blake2b[row * digits : (row + 1) * digits]
            try:
                found = source.load(key).source_hash.hex()
            except InvalidImage as error:
                found = str(error)
            if stored != found:
                raise IdentityMismatch(
                    metadata.path,
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
        if keys[row] in known and str(position) not in commit.invalid
    ]
    count = min(RECHECKED_IMAGES, len(rows))
    # From the first to the last, both included.
    return [rows[index * (len(rows) - 1) // max(1, count - 1)] for index in range(count)]
