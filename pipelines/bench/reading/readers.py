"""Who takes part in the read benchmark: our reader, plain reads of the same bytes, the libraries.

A reader is a function from nothing to a function from positions to images. The outer call prepares a pass
and is not timed: it opens what has to be opened. Where that helps a rival it is taken: the libraries get
the scales, half a percent of the bytes, from memory, and images come in the order and the form that suit
them, copied nowhere.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
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
    """Images as a reader gives them; valid until it reads again."""

    values: Sequence[np.ndarray] | np.ndarray
    scales: Sequence[np.ndarray] | np.ndarray | None


Read: TypeAlias = Callable[[Indices], Images]
Memory: TypeAlias = Callable[[int], Codes]
"""Gives memory for so many images."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One line of the table."""

    name: str
    start: Callable[[], Read]
    """Prepares a pass over the cache."""
    whole: bool = True
    """Whether a pass reads every row. A library may be so slow that a part has to do."""
    most: int | None = None
    """Images at once, if a library is so slow that a whole batch takes seconds."""


PREADV = "preadv"
"""What all others are measured against: one thread, into buffers that were used before."""
FIRST_PASS = "losa, first pass"
LATER_PASS = "losa, later pass"


def all_readers(cache: Cache, batch: int) -> list[Reader]:
    """Everybody who can read the cache.

    Args:
        cache: uncompressed, of one segment, on this machine.
        batch: most images that are read at once.
    """
    threads = default_threads()
    several = f"{threads} threads"
    places = Places(cache)
    buffers = Buffers(places.geometry, batch)
    verified = {count: _losa(cache, buffers.used, count)() for count in {1, threads}}
    for read in verified.values():
        for start in range(0, places.images, batch):
            read(np.arange(start, min(start + batch, places.images)))
    readers = [
        Reader(PREADV, partial(_preadv, places, buffers.used)),
        Reader(f"{PREADV}, fresh", partial(_preadv, places, buffers.fresh)),
        Reader(FIRST_PASS, _losa(cache, buffers.used, threads)),
        Reader(LATER_PASS, lambda: verified[threads]),
        Reader(f"{FIRST_PASS}, fresh", _losa(cache, None, threads)),
        Reader("memmap, per image", partial(_memmap_images, places, buffers)),
        Reader("memmap, index list", partial(_memmap_list, places)),
    ]
    if threads > 1:
        readers += [
            Reader(f"{PREADV}, {several}", partial(_preadv, places, buffers.used, threads)),
            Reader(f"{FIRST_PASS}, 1 thread", _losa(cache, buffers.used, 1)),
            Reader(f"{LATER_PASS}, 1 thread", lambda: verified[1]),
        ]
    if cache.manifest.store == "zarr":
        readers += [
            Reader("zarr-python, per image", partial(_zarr_images, places), whole=False),
            Reader("zarr-python, oindex", partial(_zarr_list, places), whole=False, most=8),
        ]
        if find_spec("tensorstore") is not None:
            readers.append(Reader("tensorstore, futures", partial(_tensorstore, places)))
    else:
        readers += [
            Reader("h5py, per image", partial(_h5py_images, places, buffers)),
            Reader("h5py, index list", partial(_h5py_list, places), whole=False),
        ]
    return readers


class Buffers:
    """Memory for a batch that is used again and again."""

    def __init__(self, geometry: ShardGeometry, batch: int) -> None:
        self._geometry = geometry
        self._kept = self.fresh(batch)
        for array in (self._kept.values, self._kept.scales):
            if array is not None:
                array.fill(0)  # pages are only had once they were touched

    def used(self, images: int) -> Codes:
        """For so many images, what was given before."""
        return _part(self._kept, slice(images))

    def fresh(self, images: int) -> Codes:
        """For so many images, what nobody had before."""
        geometry = self._geometry
        layout = geometry.layout
        values = aligned_empty((images, *geometry.codes_shape[1:]), layout.dtype)
        if layout.scale_dtype is None:
            return Codes(values)
        return Codes(values, aligned_empty((images, *geometry.scales_shape[1:]), layout.scale_dtype))


def _part(codes: Codes, part: slice) -> Codes:
    return Codes(codes.values[part], None if codes.scales is None else codes.scales[part])


class Places:
    """Where every image of a cache stands, from its commit records, and its files, opened."""

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
        """The file of a shard."""
        folder = self.files.folder
        assert isinstance(folder, Path), "a cache on this machine"
        return folder / extent.file

    def ranges(self, row: int) -> list[tuple[int, int]]:
        """Descriptor and offset of an image's codes, and of its scales if it has them."""
        shard, slot = divmod(row, self.rows_per_shard)
        extents = [self.codes[shard], *self.scales[shard : shard + 1]]
        return [(self._open(self.path(extent)), extent.offset + slot * extent.stride) for extent in extents]

    def mapped(self, extents: list[Strided], shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
        """The rows of every shard as arrays in mapped memory; zarr has a checksum between them."""
        arrays = []
        for shard, extent in enumerate(extents):
            file = np.memmap(self.path(extent), np.uint8, "r")
            rows = (self.geometry.rows(shard), *shape)
            strides = (extent.stride, *np.empty(shape, dtype).strides)
            arrays.append(np.ndarray(rows, dtype, file, extent.offset, strides))
        return arrays

    def by_shard(self, indices: Indices) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Shard, rows in it, and their positions among the indices."""
        shards, rows = np.divmod(indices, self.rows_per_shard)
        for shard in np.unique(shards).tolist():
            mine = np.flatnonzero(shards == shard)
            yield shard, rows[mine], mine

    def all_scales(self) -> np.ndarray | None:
        """The scales of all images, in memory."""
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


def _losa(cache: Cache, memory: Memory | None, threads: int) -> Callable[[], Read]:
    def start() -> Read:
        split = cache.split(SPLIT, threads=threads)

        def read(indices: Indices) -> Images:
            codes = split.read(indices, None if memory is None else memory(len(indices)))
            return Images(codes.values, codes.scales)

        return read

    return start


def _preadv(places: Places, memory: Memory, threads: int = 1) -> Read:
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
        codes = memory(len(indices))
        if threads == 1:
            fill(indices, codes)
        else:
            cuts = [len(indices) * part // threads for part in range(threads + 1)]
            parts = [slice(*cuts[part : part + 2]) for part in range(threads)]
            for done in [pool.submit(fill, indices[part], _part(codes, part)) for part in parts]:
                done.result()
        return Images(codes.values, codes.scales)

    return read


def _memmap_images(places: Places, buffers: Buffers) -> Read:
    values = places.mapped(places.codes, places.geometry.codes_shape[1:], places.layout.dtype)
    scales = places.all_scales()

    def read(indices: Indices) -> Images:
        codes = buffers.used(len(indices))
        for position, row in enumerate(indices.tolist()):
            shard, slot = divmod(row, places.rows_per_shard)
            codes.values[position] = values[shard][slot]
        return Images(codes.values, None if scales is None else scales[indices])

    return read


def _memmap_list(places: Places) -> Read:
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


def _zarr_images(places: Places) -> Read:
    codes, scales = _zarr_codes(places), places.all_scales()

    def read(indices: Indices) -> Images:
        return Images(
            [codes[row] for row in indices.tolist()],
            None if scales is None else scales[indices],
        )

    return read


def _zarr_list(places: Places) -> Read:
    codes, scales = _zarr_codes(places), places.all_scales()

    def read(indices: Indices) -> Images:
        rising = np.argsort(indices)  # four times faster than in another order
        images: list[Any] = [None] * len(indices)
        for position, image in zip(rising.tolist(), codes.oindex[indices[rising]], strict=True):
            images[position] = image
        return Images(images, None if scales is None else scales[indices])

    return read


def _tensorstore(places: Places) -> Read:
    import tensorstore  # not among the dependencies

    driver = {"driver": "file", "path": str(places.files.folder / "codes")}
    spec = {"driver": "zarr3", "kvstore": driver, "recheck_cached_data": False}
    codes, scales = tensorstore.open(spec, read=True).result(), places.all_scales()

    def read(indices: Indices) -> Images:
        futures = [codes[row].read() for row in indices.tolist()]
        return Images([future.result() for future in futures], None if scales is None else scales[indices])

    return read


def _h5py_datasets(places: Places) -> list[h5py.Dataset]:
    return [h5py.File(places.path(extent), "r")["codes"] for extent in places.codes]


def _h5py_images(places: Places, buffers: Buffers) -> Read:
    datasets, scales = _h5py_datasets(places), places.all_scales()

    def read(indices: Indices) -> Images:
        codes = buffers.used(len(indices))
        for position, row in enumerate(indices.tolist()):
            shard, slot = divmod(row, places.rows_per_shard)
            datasets[shard].read_direct(codes.values, np.s_[slot], np.s_[position])
        return Images(codes.values, None if scales is None else scales[indices])

    return read


def _h5py_list(places: Places) -> Read:
    datasets, scales = _h5py_datasets(places), places.all_scales()

    def read(indices: Indices) -> Images:
        images: list[Any] = [None] * len(indices)
        for shard, rows, positions in places.by_shard(indices):
            rising = np.argsort(rows)  # h5py takes no others
            for position, image in zip(
                positions[rising].tolist(), datasets[shard][rows[rising]], strict=True
            ):
                images[position] = image
        return Images(images, None if scales is None else scales[indices])

    return read
