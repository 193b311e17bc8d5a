"""Compares the files of shards with their commit records, and finds damaged images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from losa.cache_format.errors import CorruptCache
from losa.cache_format.shards.checksums import decompress, mismatch, site_checksum
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.byte_ranges import ByteRanges, Range
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.stores.base import Chunked, Strided

CHECK_BLOCK_BYTES = 4 * 2**20
"""Bytes that are read and checked at a time."""
_RECORDS = 16
"""Number of commit records in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadImage:
    """A damaged image, or one of its damaged sites."""

    segment: str
    row: int
    """Row in the segment, from 0."""
    key: str | None
    """Key of the image; None if the keys of the segment cannot be read."""
    site: str | None
    """Damaged site; None if all sites are lost, in compressed codes or in a file that is too short."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadShard:
    """A committed shard whose record or files are damaged."""

    segment: str
    shard: int
    """Number of the shard, from 0."""
    problems: tuple[str, ...]
    """One problem for the record, or one for each damaged file."""
    images: tuple[BadImage, ...]
    """Damaged images. Empty if the damage is outside of images (in a shard index, an HDF5 head, padding), or
    if the record is damaged, which has the checksums."""


class ShardCheck:
    """Checks the shards of one segment, with a block and an image in memory at a time."""

    def __init__(
        self,
        files: SegmentFiles,
        ranges: ByteRanges,
        keys: Sequence[str] | None,
        read: Callable[[int], None],
    ) -> None:
        """Prepare to check.

        Args:
            files: files of the segment.
            ranges: reader of the cache's files.
            keys: keys of the segment's rows, to name images; None if they are unknown.
            read: called with the number of bytes of every block that was read.
        """
        self._files = files
        self._ranges = ranges
        self._keys = keys
        self._read = read
        self._buffer = np.empty(CHECK_BLOCK_BYTES, np.uint8)

    def run(self, shards: Sequence[int]) -> Iterator[BadShard]:
        """Read shards completely and yield those that are damaged.

        Raises:
            CacheError: files cannot be read for another reason than damage.
        """
        for start in range(0, len(shards), _RECORDS):
            part = shards[start : start + _RECORDS]
            for shard, commit in zip(part, self._files.records(part), strict=True):
                bad = None
                if isinstance(commit, CorruptCache):
                    bad = self._bad(shard, [str(commit)])
                elif commit is not None:
                    bad = self._check(commit)
                if bad is not None:
                    yield bad

    def _check(self, commit: Commit) -> BadShard | None:
        sizes = self._files.sizes(commit)
        problems = [problem for name in commit.files if (problem := self._problem(commit, name, sizes[name]))]
        if not problems:
            return None
        images = tuple(self._bad_images(commit, sizes))
        if not images:
            problems.append("no image is damaged: the damage is before, between or after the images")
        return self._bad(commit.shard, problems, images)

    def _bad(self, shard: int, problems: Sequence[str], images: tuple[BadImage, ...] = ()) -> BadShard:
        return BadShard(
            segment=self._files.segment.name, shard=shard, problems=tuple(problems), images=images
        )

    def _problem(self, commit: Commit, name: str, size: int | None) -> str | None:
        """The problem with a file; None if it is undamaged."""
        record = commit.files[name]
        path = self._files.folder / name
        if size is None:
            return f"{path}: expected {record.bytes} bytes, found no file"
        try:
            crc = self._crc32(path, size)
        except CorruptCache as error:
            return str(error)
        if size != record.bytes:
            return f"{path}: expected {record.bytes} bytes, found {size}"
        if crc != record.crc32:
            return f"{path}: expected crc32 {record.crc32}, found {crc}"
        return None

    def _crc32(self, path: CachePath, size: int) -> str:
        crc = 0
        # A remote file system fetches the ranges of one request at the same time.
        step = CHECK_BLOCK_BYTES // 4 if self._ranges.together else CHECK_BLOCK_BYTES
        for start in range(0, size, CHECK_BLOCK_BYTES):
            block = self._buffer[: min(CHECK_BLOCK_BYTES, size - start)]
            self._ranges.fill(
                [Range(path, start + at, block[at : at + step]) for at in range(0, len(block), step)]
            )
            crc = crc32(block.data, crc)
            self._read(len(block))
        return f"{crc:08x}"

    def _bad_images(self, commit: Commit, sizes: Mapping[str, int | None]) -> Iterator[BadImage]:
        rows = self._files.segment.rows(commit.shard)
        checksums = commit.checksums.tolist()  # once, because it converts the digits of the whole shard
        chunks = commit.codes.table.tolist() if isinstance(commit.codes, Chunked) else [None] * commit.rows
        for slot, row in enumerate(rows):
            for site, problem in self._bad_sites(commit, slot, checksums[slot], chunks[slot], sizes):
                yield BadImage(
                    segment=self._files.segment.name,
                    row=row,
                    key=None if self._keys is None else self._keys[row],
                    site=site,
                    problem=problem,
                )

    def _bad_sites(
        self,
        commit: Commit,
        slot: int,
        checksums: Sequence[int],
        chunk: tuple[int, int, int] | None,
        sizes: Mapping[str, int | None],
    ) -> Iterator[tuple[str | None, str]]:
        """Every damaged site of one image, and the problem; the site is None if all sites are lost."""
        geometry = self._files.geometry
        try:
            codes = self._codes(commit, slot, chunk, sizes)
            scales = np.empty((geometry.sites, 0), np.uint8)
            if commit.scales is not None:
                size, place = geometry.image_scale_bytes, commit.scales.row_offset(slot)
                scales = self._bytes(commit.scales.file, place, size, sizes).reshape(geometry.sites, -1)
        except CorruptCache as error:
            yield None, str(error)
            return
        for site, expected in enumerate(checksums):
            found = site_checksum(codes[site], scales[site])
            if found != expected:
                yield self._files.sites[site], mismatch(expected, found)

    def _codes(
        self,
        commit: Commit,
        slot: int,
        chunk: tuple[int, int, int] | None,
        sizes: Mapping[str, int | None],
    ) -> np.ndarray:
        """The codes of one image; the first axis is that of the sites."""
        geometry = self._files.geometry
        place = commit.codes
        if isinstance(place, Strided):
            data = self._bytes(place.file, place.row_offset(slot), geometry.image_bytes, sizes)
            return data.reshape(geometry.sites, -1)
        assert chunk is not None, "compressed codes are stored in chunks"
        offset, size, checksum = chunk
        return decompress(self._bytes(place.file, offset, size, sizes), checksum, geometry, place.file)

    def _bytes(self, name: str, start: int, count: int, sizes: Mapping[str, int | None]) -> np.ndarray:
        size = sizes[name]
        if size is None or start + count > size:
            raise CorruptCache(f"{name} {'is missing' if size is None else f'ends at byte {size}'}")
        data = np.empty(count, np.uint8)
        self._ranges.fill([Range(self._files.folder / name, start, data)])
        return data
