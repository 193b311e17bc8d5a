"""Reads rows of one segment into the caller's buffers, and checks them when they are first read."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from crc32c import crc32c
from jaxtyping import Bool, Int64, Shaped

from losa.cache_format.byte_ranges import ByteRanges, Range
from losa.cache_format.commit import Commit
from losa.cache_format.errors import CorruptCache, IncompleteCache
from losa.cache_format.keys import read_keys
from losa.cache_format.manifest import Manifest
from losa.cache_format.segment_files import SegmentFiles
from losa.cache_format.stores.base import Chunked, Strided


class SegmentReader:
    """Knows from the commit records where every image stands, in whichever store."""

    def __init__(
        self,
        files: SegmentFiles,
        manifest: Manifest,
        rows: Int64[np.ndarray, "rows"],
        positions: Sequence[int],
        ranges: ByteRanges,
    ) -> None:
        """Prepare to read.

        Args:
            files: of the segment.
            manifest: of the cache.
            rows: those that will be asked for; their shards must be committed.
            positions: of the wanted sites on the stored site axis, rising.
            ranges: reads the cache's files.

        Raises:
            IncompleteCache: shards are not committed.
            CorruptCache: a commit record is damaged, or a file has another size than it says.
        """
        self.files = files
        self._manifest = manifest
        self._ranges = ranges
        shards = np.unique(rows // files.segment.rows_per_shard).tolist()
        self._commits: dict[int, Commit] = {}
        missing = []
        for shard, commit in zip(shards, files.commits(shards), strict=True):
            if isinstance(commit, CorruptCache):
                raise commit
            if commit is None:
                missing.append(shard)
            else:
                self._commits[shard] = commit
        if missing:
            raise IncompleteCache(
                f"{files.cache}: {len(missing)} of {len(shards)} shards of segment {files.segment.name!r} "
                f"are missing (the first is {missing[0]}): "
                "run the same losa-extract command again to finish it"
            )
        self._checksums = {shard: commit.checksums for shard, commit in self._commits.items()}
        self._chunks = {
            shard: commit.codes.table
            for shard, commit in self._commits.items()
            if isinstance(commit.codes, Chunked)
        }
        self._positions = list(positions)
        self._runs = _runs(self._positions)
        self._verified = {
            shard: np.zeros((commit.rows, len(self._positions)), bool)
            for shard, commit in self._commits.items()
        }

    def valid(self, rows: Int64[np.ndarray, "rows"]) -> Bool[np.ndarray, "rows"]:
        """False where an image could not be read at extraction."""
        invalid = [
            self.files.segment.rows(shard).start + int(row)
            for shard, commit in self._commits.items()
            for row in commit.invalid
        ]
        return ~np.isin(rows, np.array(invalid, np.int64))

    def read(
        self,
        rows: Sequence[int],
        values: Sequence[Shaped[np.ndarray, "sites tokens width"]],
        scales: Sequence[Shaped[np.ndarray, "sites tokens groups"]] | None,
    ) -> None:
        """Read rows into C-contiguous buffers, one for each row.

        Raises:
            CorruptCache: a file is too short, or bytes do not fit their checksum on first touch.
        """
        # One by one where that costs nothing: what was just read is checked in the processor's caches.
        step = len(rows) if self._ranges.together else 1
        for start in range(0, len(rows), max(1, step)):
            part = slice(start, start + step)
            self._read(rows[part], values[part], None if scales is None else scales[part])

    def _read(
        self, rows: Sequence[int], values: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None
    ) -> None:
        wanted: list[Range] = []
        packed: list[np.ndarray] = []
        for position, row in enumerate(rows):
            shard, slot = divmod(row, self.files.segment.rows_per_shard)
            commit = self._commits[shard]
            path = self.files.folder / commit.codes.file
            if isinstance(commit.codes, Strided):
                base = commit.codes.offset + slot * commit.codes.stride
                wanted += self._site_ranges(path, base, self.files.geometry.site_bytes, values[position])
            else:
                chunk = self._chunks[shard][slot]
                packed.append(np.empty(int(chunk["bytes"]), np.uint8))
                wanted.append(Range(path, int(chunk["offset"]), packed[-1]))
            if scales is not None and commit.scales is not None:
                base = commit.scales.offset + slot * commit.scales.stride
                path = self.files.folder / commit.scales.file
                site_bytes = self.files.geometry.site_scale_bytes
                wanted += self._site_ranges(path, base, site_bytes, scales[position])
        self._ranges.fill(wanted)
        for position, row in enumerate(rows):
            if packed:
                self._unpack(row, packed[position], values[position])
            self._verify(row, values[position], None if scales is None else scales[position])

    def _site_ranges(self, path: object, base: int, site_bytes: int, buffer: np.ndarray) -> list[Range]:
        return [
            Range(path, base + start * site_bytes, buffer[first : first + length])  # type: ignore[arg-type]
            for first, start, length in self._runs
        ]

    def _unpack(self, row: int, packed: np.ndarray, values: np.ndarray) -> None:
        geometry = self.files.geometry
        shard, slot = divmod(row, self.files.segment.rows_per_shard)
        expected = int(self._chunks[shard][slot]["crc32c"])
        found = crc32c(packed.data)
        if found != expected:
            raise CorruptCache(self._message(row, "compressed codes", expected, found))
        compressor = geometry.compression
        assert compressor is not None, "chunks are compressed"
        whole = np.empty(geometry.codes_shape[1:], geometry.layout.dtype)
        compressor.decode(packed, whole, str(self.files.folder / self._commits[shard].codes.file))
        values[:] = whole[self._positions]

    def _verify(self, row: int, values: np.ndarray, scales: np.ndarray | None) -> None:
        shard, slot = divmod(row, self.files.segment.rows_per_shard)
        verified = self._verified[shard][slot]
        if verified.all():
            return
        for index, position in enumerate(self._positions):
            found = crc32c(values[index])
            if scales is not None:
                found = crc32c(scales[index], found)
            expected = int(self._checksums[shard][slot][position])
            if found != expected:
                site = self.files.group.sites[position]
                raise CorruptCache(self._message(row, f"site {site!r}", expected, found))
        verified[:] = True

    def _message(self, row: int, what: str, expected: int, found: int) -> str:
        files = self.files
        key = read_keys(files.cache, self._manifest, files.segment)[row]
        # The checksum is of codes and scales together: either file may be the damaged one.
        paths = " or ".join(str(path) for path in files.shard_paths(row // files.segment.rows_per_shard))
        return (
            f"{paths}: image {key!r} (row {row} of segment {files.segment.name!r}), {what}: expected crc32c "
            f"{expected:08x}, found {found:08x}. Run losa-cache repair {files.cache}, then the losa-extract "
            "command that made the cache: it makes the damaged shards anew"
        )


def _runs(positions: list[int]) -> list[tuple[int, int, int]]:
    """Neighbouring positions joined: (index in the buffer, first position, length)."""
    runs = []
    for _, group in groupby(enumerate(positions), lambda pair: pair[1] - pair[0]):
        members = list(group)
        runs.append((members[0][0], members[0][1], len(members)))
    return runs
