"""Reading of committed shards, row by row."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from losa.cache_format import Cache, Codes, CorruptCache, Segment
from losa.cache_format.codecs import code_layout
from losa.cache_format.shards.buffers import empty_codes
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.segment_reader import SegmentReader
from losa.cache_format.storage.byte_ranges import open_ranges
from losa.cache_format.storage.paths import shell_path

BATCH = 16
"""Number of rows in memory at a time."""


def committed(cache: Cache, segment: Segment) -> dict[int, Commit]:
    """Read the commit records of a segment: number of the shard -> record.

    Raises:
        CorruptCache: a commit record is damaged, or a file has another size than it says.
    """
    try:
        return {commit.shard: commit for commit in SegmentFiles.of(cache.metadata, segment).committed()}
    except CorruptCache as error:
        command = f"losa-cache verify {shell_path(cache.path)}"
        raise CorruptCache(f"{error}. Run {command} for details.") from None


def row_reader(
    cache: Cache, segment: Segment, rows: Sequence[int], sites: Sequence[str]
) -> Callable[[Sequence[int]], Codes]:
    """A function that reads the codes of rows of a segment, which must be among ``rows``."""
    features = cache.manifest.features
    layout = code_layout(features.codec, features.group.width)
    reader = SegmentReader(
        SegmentFiles.of(cache.metadata, segment),
        np.array(rows, np.int64),
        [cache.sites.index(site) for site in sites],
        open_ranges(cache.path),
    )

    def read(wanted: Sequence[int]) -> Codes:
        codes = empty_codes(layout, (len(wanted), len(sites), features.group.tokens.count))
        reader.read(list(wanted), list(codes.values), None if codes.scales is None else list(codes.scales))
        return codes

    return read


def shard_batches(
    cache: Cache, segment: Segment, commit: Commit, sites: Sequence[str]
) -> Iterator[tuple[Codes, list[bytes | str]]]:
    """The rows of a shard as a writer takes them: codes of the valid rows, and the outcomes of all rows."""
    stored = segment.rows(commit.shard)
    read = row_reader(cache, segment, stored, sites)
    images = commit.images
    for start in range(0, commit.rows, BATCH):
        rows = range(start, min(start + BATCH, commit.rows))
        yield read([stored[row] for row in rows if images.valid(row)]), [images.outcome(row) for row in rows]
