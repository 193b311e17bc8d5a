"""Committed shards, to be copied whole or row by row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from losa.cache_format import Cache, Codes, CorruptCache, Segment
from losa.cache_format.byte_ranges import byte_ranges
from losa.cache_format.codecs import code_layout
from losa.cache_format.commit import SOURCE_HASH_BYTES, Commit
from losa.cache_format.publish import publishing, remove
from losa.cache_format.segment_files import SegmentFiles
from losa.cache_format.segment_reader import SegmentReader

BATCH = 16
"""Rows that are held in memory at a time."""
_BLOCK = 8 * 2**20


def committed(cache: Cache, segment: Segment) -> dict[int, Commit]:
    """The committed shards of a segment.

    Raises:
        CorruptCache: a commit record is damaged, or a file has another size than it says.
    """
    found = {}
    files = SegmentFiles.of(cache.path, cache.manifest, segment)
    for shard, commit in enumerate(files.commits(range(segment.shards))):
        if isinstance(commit, CorruptCache):
            raise CorruptCache(f"{commit}. losa-cache verify {cache.path} tells more.")
        if commit is not None:
            found[shard] = commit
    return found


def row_reader(
    cache: Cache, segment: Segment, rows: Sequence[int], sites: Sequence[str]
) -> Callable[[Sequence[int]], Codes]:
    """Reads codes of rows of a segment; those that will be asked for are among ``rows``."""
    features = cache.manifest.features
    layout = code_layout(features.codec, features.group.width)
    reader = SegmentReader(
        SegmentFiles.of(cache.path, cache.manifest, segment),
        cache.manifest,
        np.array(rows, np.int64),
        [cache.sites.index(site) for site in sites],
        byte_ranges(cache.path),
    )

    def read(wanted: Sequence[int]) -> Codes:
        shape = (len(wanted), len(sites), features.group.tokens.count)
        values = np.empty((*shape, layout.width), layout.dtype)
        scales = None if layout.scale_dtype is None else np.empty((*shape, layout.groups), layout.scale_dtype)
        reader.read(list(wanted), list(values), None if scales is None else list(scales))
        return Codes(values, scales)

    return read


def shard_batches(
    cache: Cache, segment: Segment, commit: Commit, sites: Sequence[str]
) -> Iterator[tuple[Codes, list[bytes | str]]]:
    """The rows of a shard as a writer takes them: codes of the readable ones, and every row's outcome."""
    digits = 2 * SOURCE_HASH_BYTES
    stored = segment.rows(commit.shard)
    read = row_reader(cache, segment, stored, sites)
    for start in range(0, commit.rows, BATCH):
        rows = range(start, min(start + BATCH, commit.rows))
        outcomes: list[bytes | str] = [
            commit.invalid.get(
                str(row), bytes.fromhex(commit.source_blake2b[row * digits : (row + 1) * digits])
            )
            for row in rows
        ]
        yield read([stored[row] for row in rows if str(row) not in commit.invalid]), outcomes


def copy_shard(source: SegmentFiles, target: SegmentFiles, commit: Commit) -> None:
    """Copy a shard's files as they are, and its record last.

    Raises:
        CorruptCache: the source is damaged; nothing is committed.
    """
    remove(target.commit_path(commit.shard))
    for name, record in commit.files.items():
        with (source.folder / name).open("rb") as data, publishing(target.folder / name) as copy:
            crc = size = 0
            while block := data.read(_BLOCK):
                crc, size = crc32(block, crc), size + len(block)
                copy.write(block)
            if (size, f"{crc:08x}") != (record.bytes, record.crc32):
                raise CorruptCache(
                    f"{source.folder / name}: its bytes are not those that were written. "
                    f"losa-cache verify {source.cache} tells more, losa-cache repair drops the shard"
                )
    replace(commit, segment=target.segment.name).write(target.commit_path(commit.shard))
