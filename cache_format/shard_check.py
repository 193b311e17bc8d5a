"""Checks the files of one shard after another against their commit records, and finds the bad images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from crc32c import crc32c

from losa.cache_format.byte_ranges import ByteRanges, Range
from losa.cache_format.commit import Commit
from losa.cache_format.errors import CorruptCache
from losa.cache_format.paths import CachePath
from losa.cache_format.segment_files import SegmentFiles
from losa.cache_format.stores.base import Strided

BLOCK = 4 * 2**20
"""Bytes that are read and checked at a time."""
_RECORDS = 16
"""Commit records that are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadImage:
    """An image of which something is damaged."""

    segment: str
    row: int
    """In the segment, from 0."""
    key: str | None
    """None if the keys of the segment cannot be read."""
    site: str | None
    """None for all of them: compressed codes have one checksum, and a file that ends early has none."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadShard:
    """A committed shard that is not what its record says."""

    segment: str
    shard: int
    """Its number, from 0."""
    problems: tuple[str, ...]
    """One for the record, or one for each damaged file."""
    images: tuple[BadImage, ...]
    """Its bad images. None if the damage is outside of them (in a shard index, an HDF5 head, padding), or if
    the record is damaged, which holds the checksums."""


class ShardCheck:
    """Checks the shards of one segment; holds a block, or an image if that is larger, in memory.

    The checksum of a whole file is not enough: a zarr chunk ends with its own crc32c, and the crc32c of data
    with their crc32c behind them is the same number whatever the data are. A shard in the place of another
    one of its size would pass. So the images are checked as well, while the file goes by.
    """

    def __init__(
        self,
        files: SegmentFiles,
        ranges: ByteRanges,
        keys: Sequence[str] | None,
        read: Callable[[int], None],
    ) -> None:
        """Prepare to check.

        Args:
            files: of the segment.
            ranges: reads the cache's files.
            keys: of the segment's rows, to name images; None if they are unknown.
            read: called with the number of bytes of every block that was read.
        """
        self._files = files
        self._ranges = ranges
        self._keys = keys
        self._read = read
        self._buffer = np.empty(BLOCK, np.uint8)

    def run(self, shards: Sequence[int]) -> Iterator[BadShard]:
        """Read shards whole; those that are damaged come out.

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
        known = _Record(commit, self._files.geometry.image_bytes)
        sizes = self._files.sizes(commit)
        in_passing = known.in_order and all(
            sizes[name] == record.bytes for name, record in commit.files.items()
        )
        problems: list[str] = []
        images: list[BadImage] = []
        for name, record in commit.files.items():
            path, size = self._files.folder / name, sizes[name]
            if size is None:
                problems.append(f"{path}: expected {record.bytes} bytes, found no file")
                continue
            blocks = known.blocks(name, size) if in_passing else _without_rows(0, size)
            try:
                crc, bad = self._walk(known, path, blocks)
            except CorruptCache as error:
                problems.append(str(error))
                in_passing = False
                continue
            images += bad
            if size != record.bytes:
                problems.append(f"{path}: expected {record.bytes} bytes, found {size}")
            elif crc != record.crc32c:
                problems.append(f"{path}: expected crc32c {record.crc32c}, found {crc}")
        if not in_passing:
            images = [bad for slot in range(commit.rows) for bad in self._bad_image(known, slot, sizes)]
        if not problems and not images:
            return None
        if not problems:
            problems.append("its files are those of another shard, or were written again by another program")
        if not images:
            problems.append("no image is hit: the damage is in what stands before, between or after them")
        return self._bad(commit.shard, problems, images)

    def _bad(self, shard: int, problems: Sequence[str], images: Sequence[BadImage] = ()) -> BadShard:
        return BadShard(
            segment=self._files.segment.name, shard=shard, problems=tuple(problems), images=tuple(images)
        )

    def _walk(
        self, known: "_Record", path: CachePath, blocks: Iterator["_Block"]
    ) -> tuple[str, list[BadImage]]:
        """Checksum of a file, and the bad images in it."""
        crc = 0
        place = known.commit.scales
        bad: list[BadImage] = []
        for block in blocks:
            if block.stop - block.start > len(self._buffer):
                self._buffer = np.empty(block.stop - block.start, np.uint8)
            data = self._buffer[: block.stop - block.start]
            # A remote file system fetches the ranges of one request at the same time.
            step = BLOCK // 4 if self._ranges.together else len(data)
            wanted = [Range(path, block.start + at, data[at : at + step]) for at in range(0, len(data), step)]
            scales = np.empty((len(block.rows), 0), np.uint8)
            if place is not None and block.rows:
                scales = np.empty((len(block.rows), place.stride), np.uint8)
                first = place.offset + block.rows[0][0] * place.stride
                wanted.append(Range(self._files.folder / place.file, first, scales))
            self._ranges.fill(wanted)
            crc = crc32c(data.data, crc)
            for (slot, start, stop), of_row in zip(block.rows, scales, strict=True):
                bad += self._bad_sites(known, slot, data[start - block.start : stop - block.start], of_row)
            self._read(len(data))
        return f"{crc:08x}", bad

    def _bad_image(self, known: "_Record", slot: int, sizes: Mapping[str, int | None]) -> Iterator[BadImage]:
        """What is bad of one image, also where files end early."""
        commit = known.commit
        place = commit.scales
        scales = np.empty(0, np.uint8)
        try:
            start, stop = known.places[slot]
            codes = self._bytes(commit.codes.file, start, stop - start, sizes)
            if place is not None:
                start = place.offset + slot * place.stride
                scales = self._bytes(place.file, start, place.stride, sizes)
        except CorruptCache as error:
            yield self._image(commit, slot, None, str(error))
            return
        yield from self._bad_sites(known, slot, codes, scales)

    def _bad_sites(
        self, known: "_Record", slot: int, codes: np.ndarray, scales: np.ndarray
    ) -> Iterator[BadImage]:
        """Compare the bytes of one image with its checksums."""
        commit, geometry = known.commit, self._files.geometry
        if known.packed is not None:
            expected, found = known.packed[slot], crc32c(codes.data)
            if found != expected:
                yield self._image(commit, slot, None, _differ("compressed codes", expected, found))
                return
            assert geometry.compression is not None, "chunks are compressed"
            packed, codes = codes, np.empty(geometry.image_bytes, np.uint8)
            try:
                geometry.compression.decode(packed, codes, commit.codes.file)
            except CorruptCache as error:
                yield self._image(commit, slot, None, str(error))
                return
        by_site = codes[: geometry.image_bytes].reshape(geometry.sites, -1)
        scales_by_site = scales[: geometry.sites * geometry.site_scale_bytes].reshape(geometry.sites, -1)
        for site, expected in enumerate(known.checksums[slot]):
            found = crc32c(scales_by_site[site], crc32c(by_site[site]))
            if found != expected:
                name = self._files.group.sites[site]
                yield self._image(commit, slot, name, _differ("codes and scales", expected, found))

    def _image(self, commit: Commit, slot: int, site: str | None, problem: str) -> BadImage:
        row = self._files.segment.rows(commit.shard)[slot]
        return BadImage(
            segment=self._files.segment.name,
            row=row,
            key=None if self._keys is None else self._keys[row],
            site=site,
            problem=problem,
        )

    def _bytes(self, name: str, start: int, count: int, sizes: Mapping[str, int | None]) -> np.ndarray:
        size = sizes[name]
        if size is None or start + count > size:
            raise CorruptCache(f"{name} {'is missing' if size is None else f'ends at byte {size}'}")
        data = np.empty(count, np.uint8)
        self._ranges.fill([Range(self._files.folder / name, start, data)])
        return data


class _Block(NamedTuple):
    """A part of a file, with the rows of codes that stand in it."""

    start: int
    stop: int
    rows: list[tuple[int, int, int]]
    """Slot in the shard, start and stop in the file; slots follow each other."""


class _Record:
    """A commit record, read once."""

    def __init__(self, commit: Commit, image_bytes: int) -> None:
        self.commit = commit
        self.checksums = commit.checksums.tolist()
        codes = commit.codes
        if isinstance(codes, Strided):
            starts = [codes.offset + slot * codes.stride for slot in range(commit.rows)]
            self.packed = None
            self.places = [(start, start + image_bytes) for start in starts]
        else:
            table = codes.table.tolist()
            self.packed = [crc for _, _, crc in table]
            self.places = [(offset, offset + size) for offset, size, _ in table]
        self.in_order = all(before <= start for (_, before), (start, _) in pairwise(self.places))
        """Rows one after the other, as losa writes them."""

    def blocks(self, name: str, size: int) -> Iterator[_Block]:
        """Cut a file into blocks, so that every row of codes is whole in one."""
        start = 0
        rows: list[tuple[int, int, int]] = []
        places = self.places if name == self.commit.codes.file else []
        for slot, (first, end) in enumerate(places):
            if rows and end - start > BLOCK:
                yield _Block(start, rows[-1][2], rows)
                start, rows = rows[-1][2], []
            if first - start > BLOCK:
                yield from _without_rows(start, first)
                start = first
            rows.append((slot, first, end))
        if rows:
            yield _Block(start, rows[-1][2], rows)
            start = rows[-1][2]
        yield from _without_rows(start, size)


def _without_rows(start: int, stop: int) -> Iterator[_Block]:
    return (_Block(at, min(at + BLOCK, stop), []) for at in range(start, stop, BLOCK))


def _differ(what: str, expected: int, found: int) -> str:
    return f"{what}: expected crc32c {expected:08x}, found {found:08x}"
