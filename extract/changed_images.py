"""Keys stay when pictures are exchanged; this looks at the pictures."""

from collections.abc import Container
from pathlib import Path

from losa.cache_format import CacheError, IdentityMismatch, Manifest
from losa.cache_format.commit import SOURCE_HASH_BYTES
from losa.cache_format.errors import Difference
from losa.cache_format.keys import read_keys
from losa.cache_format.segment_files import SegmentFiles
from losa.extract.sources import ImageSource, UnreadableImage

RECHECKED_IMAGES = 8
"""Stored images of each segment that are compared with their files when a cache is opened again."""


def refuse_changed_images(
    cache: Path, manifest: Manifest, source: ImageSource, known: Container[str]
) -> None:
    """Compare a few images of each segment, taken evenly from what is committed, with their files.

    Args:
        cache: the folder of the cache.
        manifest: its manifest; segments need not exist yet.
        source: where the images are now.
        known: keys that the source lists now; others are left out.

    Raises:
        IdentityMismatch: the bytes of an image are not those it was extracted from.
    """
    digits = 2 * SOURCE_HASH_BYTES
    for segment in manifest.segments:
        files = SegmentFiles.of(cache, manifest, segment)
        for key, row, shard in _sample(files, known):
            try:
                commit = files.commit(shard)
            except (FileNotFoundError, CacheError):  # such a shard is made again
                continue
            if str(row) in commit.invalid:
                continue
            stored = commit.sources[row * digits : (row + 1) * digits]
            try:
                found = source.load(key).source_hash.hex()
            except UnreadableImage as error:
                found = str(error)
            if stored != found:
                raise IdentityMismatch(
                    cache,
                    [Difference(f"blake2b of image {key}", found, stored)],
                    "The image has changed since it was extracted: choose another cache=...",
                )


def _sample(files: SegmentFiles, known: Container[str]) -> list[tuple[str, int, int]]:
    """Key, row in its shard, and shard, of images that are spread over the committed shards."""
    segment = files.segment
    committed = [shard for shard in range(segment.shards) if files.commit_path(shard).exists()]
    if not committed:
        return []
    keys = read_keys(files.folder, segment)
    rows = [
        (keys[row], row - segment.rows(shard).start, shard)
        for shard in committed
        for row in segment.rows(shard)
        if keys[row] in known
    ]
    count = min(RECHECKED_IMAGES, len(rows))
    # From the first to the last, both included.
    return [rows[index * (len(rows) - 1) // max(1, count - 1)] for index in range(count)]
