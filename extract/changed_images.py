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
    """Compare a few images of each segment's first shard with their files.

    Raises:
        IdentityMismatch: the bytes of an image are not those it was extracted from.
    """
    digits = 2 * SOURCE_HASH_BYTES
    for segment in manifest.segments:
        files = SegmentFiles.of(cache, manifest, segment)
        try:
            commit = files.commit(0)
        except (FileNotFoundError, CacheError):
            continue
        keys = read_keys(files.folder, segment)
        for row in range(0, commit.rows, max(1, commit.rows // RECHECKED_IMAGES)):
            if keys[row] not in known or str(row) in commit.invalid:
                continue
            stored = commit.sources[row * digits : (row + 1) * digits]
            try:
                found = source.load(keys[row]).source_hash.hex()
            except UnreadableImage as error:
                found = str(error)
            if stored != found:
                raise IdentityMismatch(
                    cache,
                    [Difference(f"blake2b of image {keys[row]}", found, stored)],
                    "The image has changed since it was extracted: choose another cache=...",
                )
