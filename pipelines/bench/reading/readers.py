"""The readers that the read benchmark compares: losa, plain reads of the same bytes, and libraries.

Starting a reader opens what a pass needs, which is not timed, and returns a function from positions to
images. Libraries are given every advantage: they get the scales, half a percent of the bytes, from memory,
take images in the order that suits them, and return them in their own form, without a copy.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import h5py
import numpy as np
import zarr
from jaxtyping import Int64

from losa.cache_format import Cache, Codes
from losa.cache_format.codecs import code_layout
from losa.cache_format.shards.buffers import aligned_empty
from losa.cache_format.shards.read_threads import default_threads
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.stores.base import ShardGeometry, Strided
from losa.pipelines.bench.reading.noise_cache import SPLIT

Indices: TypeAlias = Int64[np.ndarray, "images"]


class Images(NamedTuple):
    """Images in the form that a reader returns. They are valid until it reads again."""

    values: Sequence[np.ndarray] | np.ndarray
    scales: Sequence[np.ndarray] | np.ndarray | None


ReadImages: TypeAlias = Callable[[Indices], Images]
MakeRoom: TypeAlias = Callable[[int], Codes]
"""Returns memory for a number of images."""


@dataclass(frozen=True, slots=True)
class TimedReader:
    """One line of the table."""

    name: str
    start: Callable[[], ReadImages]
    """Prepares a pass over the cache."""
    whole: bool = True
    """Whether a pass reads every row. Passes of slow libraries end early."""
    most: int | None = None
    """Maximum number of images in a read, for a library that takes seconds for a batch."""


PREADV = "preadv"
"""The reference for all others: one thread, into buffers that were used before."""
FIRST_PASS = "losa, first pass"
LATER_PASS = "losa, later pass"


def all_readers(cache: Cache, batch: int) -> list[TimedReader]:
    """Return all readers that can read the cache.

    Args:
        cache: an uncompressed cache of one segment on this machine.
        batch: maximum number of images in a read.
    """
    threads = default_threads()
    several = f"{threads} threads"
    places = Places(cache)
    memory = BatchMemory(places.geometry, batch)
    verified = {count: _losa(cache, memory.used, count)() for count in {1, threads}}
    for read in verified.values():
        for start in range(0, places.images, batch):
            read(np.arange(start, min(start + batch, places.images)))
    readers = [
        TimedReader(PREADV, partial(_preadv, places, memory.used)),
        TimedReader(f"{PREADV}, fresh", partial(_preadv, places, memory.fresh)),
        TimedReader(FIRST_PASS, _losa(cache, memory.used, threads)),
        TimedReader(LATER_PASS, lambda: verified[threads]),
        TimedReader(f"{FIRST_PASS}, fresh", _losa(cache, None, threads)),
        TimedReader("memmap, per image", partial(_memmap_images, places, memory)),
        TimedReader("memmap, index list", partial(_memmap_list, places)),
    ]
    if threads > 1:
        readers += [
            TimedReader(f"{PREADV}, {several}", partial(_preadv, places, memory.used, threads)),
            TimedReader(f"{FIRST_PASS}, 1 thread", _losa(cache, memory.used, 1)),
            TimedReader(f"{LATER_PASS}, 1 thread", lambda: verified[1]),
        ]
    if cache.manifest.store == "zarr":
        readers += [
            TimedReader("zarr-python, per image", partial(_zarr_images, places), whole=False),
            TimedReader("zarr-python, oindex", partial(_zarr_list, places), whole=False, most=8),
        ]
        if find_spec("tensorstore") is not None:
            readers.append(TimedReader("tensorstore, futures", partial(_tensorstore, places)))
    else:
        readers += [
            TimedReader("h5py, per image", partial(_h5py_images, places, memory)),
            TimedReader("h5py, index list", partial(_h5py_list, places), whole=False),
        ]
    return readers


class BatchMemory:
    """Memory for the codes and scales of a batch, reused or new."""

    def __init__(self, geometry: ShardGeometry, batch: int) -> None:
        self._geometry = geometry
        self._kept = self.fresh(batch)
        for array in (self._kept.values, self._kept.scales):
            if array is not None:
                array.fill(0)  # the system provides a page when it is first written

    def used(self, images: int) -> Codes:
        """Return the same memory as before for a number of images."""
        return _select(self._kept, slice(images))

    def fresh(self, images: int) -> Codes:
        """Return newly allocated memory for a number of images."""
        geometry = self._geometry
        layout = geometry.layout
        values = aligned_empty((images, *geometry.codes_shape[1:]), layout.dtype)
        if layout.scale_dtype is None:
            return Codes(values)
        return Codes(values, aligned_empty((images, *geometry.scales_shape[1:]), layout.scale_dtype))


def _select(codes: Codes, images: slice) -> Codes:
    return Codes(codes.values[images], None if codes.scales is None else codes.scales[images])


class Places:
    """The open files of a cache, and the place of every image in them, from the commit records."""

    def __init__(self, cache: Cache) -> None:
        (segment,) = cache.manifest.segments
        self.files = SegmentFiles.of(cache.metadata, segment)
        self.geometry = self.files.geometry
        self.images = segment.images
        self.rows_per_shard = segment.rows_per_shard
        self.layout = code_layout(cache.manifest.features.codec, cache.manifest.features.group.width)
        self.codes: list[Strided] = []
        self.scales: list[Strided] = []
        for shard in range(segment.shards):
            commit = self.files.commit(shard)
            assert isinstance(commit.codes, Strided), "an uncompressed cache"
            self.codes.append(commit.codes)
            if commit.scales is not None:
                self.scales.append(commit.scales)
        self._descriptors: dict[Path, int] = {}

    def path(self, extent: Strided) -> Path:
        """Path of a shard's file."""
        folder = self.files.folder
        assert isinstance(folder, Path), "a cache on this machine"
        return folder / extent.file

    def ranges(self, row: int) -> list[tuple[int, int]]:
        """File descriptor and offset of an image's codes, and of its scales if there are any."""
        shard, slot = divmod(row, self.rows_per_shard)
        extents = [self.codes[shard], *self.scales[shard : shard + 1]]
        return [(self._open(self.path(extent)), extent.offset + slot * extent.stride) for extent in extents]

    def mapped(self, extents: list[Strided], shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
        """Rows of every shard as an array in mapped memory. Their stride leaves out zarr's checksums."""
        arrays = []
        for shard, extent in enumerate(extents):
            file = np.memmap(self.path(extent), np.uint8, "r")
            rows = (self.geometry.rows(shard), *shape)
            strides = (extent.stride, *np.empty(shape, dtype).strides)
            arrays.append(np.ndarray(rows, dtype, file, extent.offset, strides))
        return arrays

    def by_shard(self, indices: Indices) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield each shard, the rows in it, and their positions among the indices."""
        shards, rows = np.divmod(indices, self.rows_per_shard)
        for shard in np.unique(shards).tolist():
            mine = np.flatnonzero(shards == shard)
            yield shard, rows[mine], mine

    def all_scales(self) -> np.ndarray | None:
        """Scales of all images in memory; None if the codec has none."""
        layout = self.layout
        if layout.scale_dtype is None:
            return None
        return np.concatenate(self.mapped(self.scales, self.geometry.scales_shape[1:], layout.scale_dtype))

    def _open(self, path: Path) -> int:
        if path not in self._descriptors:
            self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[path]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)


def _losa(cache: Cache, make_room: MakeRoom | None, threads: int) -> Callable[[], ReadImages]:
    def start() -> ReadImages:
        split = cache.split(SPLIT, threads=threads)

        def read(indices: Indices) -> Images:
            codes = split.read(indices, None if make_room is None else make_room(len(indices)))
            return Images(codes.values, codes.scales)

        return read

    return start


def _preadv(places: Places, make_room: MakeRoom, threads: int = 1) -> ReadImages:
    ranges = [places.ranges(row) for row in range(places.images)]
    pool = ThreadPoolExecutor(threads)

    def fill(indices: Indices, codes: Codes) -> None:
        for position, row in enumerate(indices.tolist()):
            descriptor, offset = ranges[row][0]
            os.preadv(descriptor, [codes.values[position].data], offset)
            if codes.scales is not None:
                descriptor, offset = ranges[row][1]
                os.preadv(descriptor, [codes.scales[position].data], offset)

    def read(indices: Indices) -> Images:
        codes = make_room(len(indices))
        if threads == 1:
            fill(indices, codes)
        else:
            cuts = [len(indices) * thread // threads for thread in range(threads + 1)]
            for done in [
                pool.submit(fill, indices[start:stop], _select(codes, slice(start, stop)))
                for start, stop in pairwise(cuts)
            ]:
                done.result()
        return Images(codes.values, codes.scales)

    return read


def _memmap_images(places: Places, memory: BatchMemory) -> ReadImages:
    values = places.mapped(places.codes, places.geometry.codes_shape[1:], places.layout.dtype)
    scales = places.all_scales()

    def read(indices: Indices) -> Images:
        codes = memory.used(len(indices))
        for position, row in enumerate(indices.tolist()):
            shard, slot = divmod(row, places.rows_per_shard)
            codes.values[position] = values[shard][slot]
        return Images(codes.values, None if scales is None else scales[indices])

    return read


def _memmap_list(places: Places) -> ReadImages:
    values = places.mapped(places.codes, places.geometry.codes_shape[1:], places.layout.dtype)
    scales = places.all_scales()

    def read(indices: Indices) -> Images:
        images: list[Any] = [None] * len(indices)
        for shard, rows, positions in places.by_shard(indices):
            for position, image in zip(positions.tolist(), values[shard][rows], strict=True):
                images[position] = image
        return Images(images, None if scales is None else scales[indices])

    return read


def _zarr_codes(places: Places) -> Any:
    return zarr.open_array(str(places.files.folder / "codes"), mode="r")


def _zarr_images(places: Places) -> ReadImages:
    codes, scales = _zarr_codes(places), places.all_scales()

    def read(indices: Indices) -> Images:
        return Images(
            [codes[row] for row in indices.tolist()],
            None if scales is None else scales[indices],
        )

    return read


def _zarr_list(places: Places) -> ReadImages:
    codes, scales = _zarr_codes(places), places.all_scales()

    def read(indices: Indices) -> Images:
        rising = np.argsort(indices)  # four times faster than any other order
        images: list[Any] = [None] * len(indices)
        for position, image in zip(rising.tolist(), codes.oindex[indices[rising]], strict=True):
            images[position] = image
        return Images(images, None if scales is None else scales[indices])

    return read


def _tensorstore(places: Places) -> ReadImages:
    import tensorstore  # an optional package

    driver = {"driver": "file", "path": str(places.files.folder / "codes")}
    spec = {"driver": "zarr3", "kvstore": driver, "recheck_cached_data": False}
    codes, scales = tensorstore.open(spec, read=True).result(), places.all_scales()

    def read(indices: Indices) -> Images:
        futures = [codes[row].read() for row in indices.tolist()]
        return Images([future.result() for future in futures], None if scales is None else scales[indices])

    return read


def _h5py_datasets(places: Places) -> list[h5py.Dataset]:
    return [h5py.File(places.path(extent), "r")["codes"] for extent in places.codes]


def _h5py_images(places: Places, memory: BatchMemory) -> ReadImages:
    datasets, scales = _h5py_datasets(places), places.all_scales()

    def read(indices: Indices) -> Images:
        codes = memory.used(len(indices))
        for position, row in enumerate(indices.tolist()):
            shard, slot = divmod(row, places.rows_per_shard)
            datasets[shard].read_direct(codes.values, np.s_[slot], np.s_[position])
        return Images(codes.values, None if scales is None else scales[indices])

    return read


def _h5py_list(places: Places) -> ReadImages:
    datasets, scales = _h5py_datasets(places), places.all_scales()

    def read(indices: Indices) -> Images:
        images: list[Any] = [None] * len(indices)
        for shard, rows, positions in places.by_shard(indices):
            rising = np.argsort(rows)  # h5py accepts no other order
            for position, image in zip(
                positions[rising].tolist(), datasets[shard][rows[rising]], strict=True
            ):
                images[position] = image
        return Images(images, None if scales is None else scales[indices])

    return read
