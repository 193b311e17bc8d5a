"""Reads rows of one segment into the caller's buffers, and verifies them when they are first read."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, repeat

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt32

from losa.cache_format.common.distinct import distinct
from losa.cache_format.errors import CorruptCache, IncompleteCache
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.shards.checksums import ChecksumMismatch, decompress, mismatch, site_checksum
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES, ShardImages
from losa.cache_format.storage.byte_ranges import ByteRanges, Range
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.stores.base import CHUNK_RECORD, Chunked, Strided


class SegmentReader:
    """Reads rows of a segment. It takes their places from commit records, so all stores are read alike."""

    def __init__(
        self,
        files: SegmentFiles,
        rows: Int64[np.ndarray, "rows"],
        positions: Sequence[int],
        ranges: ByteRanges,
    ) -> None:
        """Prepare to read.

        Args:
            files: files of the segment.
            rows: rows that will be read; their shards must be committed.
            positions: positions of the wanted sites on the stored site axis, in ascending order.
            ranges: reader of the cache's files.

        Raises:
            IncompleteCache: shards are not committed.
            CorruptCache: a commit record is damaged, or a file has another size than it says.
        """
        self.files = files
        self._ranges = ranges
        shards = distinct(rows // files.segment.rows_per_shard).tolist()
        self._positions = list(positions)
        self._shards: dict[int, _Shard] = {}
        missing = []
        for shard, commit in zip(shards, files.commits(shards), strict=True):
            if isinstance(commit, CorruptCache):
                raise self.files.damaged(str(commit))
            if commit is None:
                missing.append(shard)
            else:
                self._shards[shard] = _Shard.of(commit, files.folder, self._positions)
        if missing:
            raise IncompleteCache(
                f"{files.metadata.path}: {len(missing)} of {len(shards)} shards of segment "
                f"{files.segment.name!r} are missing (the first is {missing[0]}): "
                "run the same losa-extract command again to finish it"
            )
        self._runs = _runs(self._positions)

    def valid(self, rows: Int64[np.ndarray, "rows"]) -> Bool[np.ndarray, "rows"]:
        """False where the image of a row could not be decoded during extraction."""
        invalid = [
            self.files.segment.rows(number).start + int(row)
            for number, shard in self._shards.items()
            for row in shard.images.invalid
        ]
        return ~np.isin(rows, np.array(invalid, np.int64))

    def source_hashes(self, rows: Int64[np.ndarray, "rows"]) -> Shaped[np.ndarray, "rows"]:
        """blake2b-128 of the files of rows, as ``S16``."""
        hashes = np.zeros(self.files.segment.images, f"S{SOURCE_HASH_BYTES}")
        for number, shard in self._shards.items():
            stored = self.files.segment.rows(number)
            hashes[stored.start : stored.stop] = shard.images.source_hashes
        return np.asarray(hashes[rows])

    def read(
        self,
        rows: Sequence[int],
        values: Sequence[Shaped[np.ndarray, "sites tokens width"]],
        scales: Sequence[Shaped[np.ndarray, "sites tokens groups"]] | None,
    ) -> None:
        """Read rows into C-contiguous buffers, one for each row.

        Raises:
            CorruptCache: a file is too short, or bytes that are read for the first time do not fit their
                checksum.
        """
        images = list(zip(rows, values, repeat(None) if scales is None else scales, strict=False))
        # One by one if rows have to be verified or decompressed, because they are in the processor's caches
        # right after reading. All at once if that saves requests, or if there is only reading to do.
        step = len(images) if self._ranges.together or self._plain(rows) else 1
        for start in range(0, len(images), max(1, step)):
            part = images[start : start + step]
            wanted = [self._wanted(*image) for image in part]
            try:
                self._ranges.fill([one for of_image in wanted for one in of_image])
            except CorruptCache as error:
                raise self.files.damaged(str(error)) from error
            for image, ranges in zip(part, wanted, strict=True):
                self._finish(*image, ranges)

    def _plain(self, rows: Sequence[int]) -> bool:
        """Whether rows are uncompressed and verified already."""
        places = (self._place(row) for row in rows)
        return all(shard.codes is not None and shard.verified[slot] for shard, slot in places)

    def _wanted(self, row: int, values: np.ndarray, scales: np.ndarray | None) -> list[Range]:
        geometry = self.files.geometry
        shard, slot = self._place(row)
        if shard.codes is not None:
            base = shard.codes.row_offset(slot)
            wanted = self._site_ranges(shard.codes_path, base, geometry.site_bytes, values)
        else:
            chunk = shard.chunks[slot]
            wanted = [Range(shard.codes_path, int(chunk["offset"]), np.empty(int(chunk["bytes"]), np.uint8))]
        if scales is not None and shard.scales is not None:
            path, scale_rows = shard.scales
            base = scale_rows.row_offset(slot)
            wanted += self._site_ranges(path, base, geometry.site_scale_bytes, scales)
        return wanted

    def _finish(
        self, row: int, values: np.ndarray, scales: np.ndarray | None, ranges: Sequence[Range]
    ) -> None:
        shard, slot = self._place(row)
        if shard.codes is None:
            self._decompress(row, ranges[0].buffer, values)
        if not shard.verified[slot]:
            self._verify(row, values, scales)
            shard.verified[slot] = 1

    def _place(self, row: int) -> tuple["_Shard", int]:
        shard, slot = divmod(row, self.files.segment.rows_per_shard)
        return self._shards[shard], slot

    def _site_ranges(self, path: CachePath, base: int, site_bytes: int, buffer: np.ndarray) -> list[Range]:
        if self._runs[0][2] == len(buffer):
            return [Range(path, base + self._runs[0][1] * site_bytes, buffer)]
        return [
            Range(path, base + start * site_bytes, buffer[first : first + length])
            for first, start, length in self._runs
        ]

    def _decompress(self, row: int, packed: np.ndarray, values: np.ndarray) -> None:
        shard, slot = self._place(row)
        checksum = int(shard.chunks[slot]["crc32c"])
        try:
            whole = decompress(packed, checksum, self.files.geometry, str(shard.codes_path))
        except ChecksumMismatch as error:
            raise self._damaged_image(row, str(error)) from None
        values[:] = whole[self._positions]

    def _verify(self, row: int, values: np.ndarray, scales: np.ndarray | None) -> None:
        shard, slot = self._place(row)
        for index, expected in enumerate(shard.checksums[slot].tolist()):
            found = site_checksum(values[index], None if scales is None else scales[index])
            if found != expected:
                site = self.files.sites[self._positions[index]]
                raise self._damaged_image(row, f"site {site!r}: {mismatch(expected, found)}")

    def _damaged_image(self, row: int, problem: str) -> CorruptCache:
        files = self.files
        key = read_keys(files.metadata, files.segment)[row]
        # The checksum covers codes and scales together, so either file may be damaged.
        paths = " or ".join(str(path) for path in files.shard_paths(row // files.segment.rows_per_shard))
        return self.files.damaged(
            f"{paths}: image {key!r} (row {row} of segment {files.segment.name!r}), {problem}"
        )


@dataclass(frozen=True, slots=True)
class _Shard:
    """The part of a commit record that reading needs, laid out so that a row costs a few lookups."""

    codes_path: CachePath
    codes: Strided | None
    """Places of the codes; None if they are compressed."""
    chunks: np.ndarray
    """Places and checksums of compressed codes; empty if they are not compressed."""
    scales: tuple[CachePath, Strided] | None
    """File and places of the scales, if the codec has them."""
    checksums: UInt32[np.ndarray, "rows sites"]
    """Checksums of the wanted sites."""
    verified: bytearray
    """1 for every row whose checksums were verified."""
    images: ShardImages

    @classmethod
    def of(cls, commit: Commit, folder: CachePath, positions: Sequence[int]) -> "_Shard":
        codes, scales = commit.codes, commit.scales
        return cls(
            codes_path=folder / codes.file,
            codes=codes if isinstance(codes, Strided) else None,
            chunks=codes.table if isinstance(codes, Chunked) else np.empty(0, CHUNK_RECORD),
            scales=None if scales is None else (folder / scales.file, scales),
            checksums=commit.checksums[:, positions],
            verified=bytearray(commit.rows),
            images=commit.images,
        )


def _runs(positions: list[int]) -> list[tuple[int, int, int]]:
    """Runs of consecutive positions, as (index in the buffer, first position, length)."""
    runs = []
    for _, group in groupby(enumerate(positions), lambda pair: pair[1] - pair[0]):
        members = list(group)
        runs.append((members[0][0], members[0][1], len(members)))
    return runs
