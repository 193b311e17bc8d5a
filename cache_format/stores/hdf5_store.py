"""The HDF5 store: one finished file for each shard and for each metadata array.

HDF5 files cannot be appended to safely, and the library allows one thread at a time. So each file is written
once: h5py makes the head that describes the data sets, the rows follow as plain bytes, and reading does not
need the library. The library composes a compressed shard in memory.
"""

import io
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from crc32c import crc32c
from jaxtyping import Shaped

from losa.cache_format.codecs.compressors import Compressor
from losa.cache_format.stores.base import (
    CHUNK_RECORD,
    ByteSink,
    Chunked,
    FinishedShard,
    MetadataArray,
    ShardGeometry,
    ShardStream,
    Strided,
)

_LIBVER = ("v110", "v110")
"""File format of HDF5 1.10: the first whose object headers carry checksums."""
_HEAD_BYTES = 2048
"""Size of HDF5's metadata blocks; one block can describe two data sets."""
_CODES_AXES = "images sites tokens width"
_SCALES_AXES = "images sites tokens groups"


class Hdf5Store:
    """Stores arrays in contiguous data sets, and compressed codes in chunks of one image."""

    name: Literal["hdf5"] = "hdf5"
    root = "arrays.hdf5"

    def group_files(self) -> dict[str, bytes]:
        """No files: groups are plain folders."""
        return {}

    def array_files(self, name: str, array: MetadataArray) -> dict[str, bytes]:
        """One file with one data set, named by the last part of the array's name."""
        values, axes = array
        values = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
        leaf = name.rpartition("/")[2]
        head, _ = _head(((leaf, values.shape, values.dtype.name, " ".join(axes)),))
        return {self.array_file(name, values.ndim): head + values.tobytes()}

    def array_file(self, name: str, axes: int) -> str:
        """The only file of the array."""
        return f"{name}.h5"

    def array_bytes(self, data: bytes, size: int) -> bytes:
        """The end of the file, where the only data set is."""
        return data[len(data) - size :] if len(data) >= size else b""

    def shard_descriptions(self, geometry: ShardGeometry) -> dict[str, bytes]:
        """No files: each shard describes itself."""
        return {}

    def shard_files(self, geometry: ShardGeometry, shard: int) -> tuple[str, ...]:
        """One file with ``codes`` and, if the codec has them, ``scales``."""
        return (f"shard.{shard}.h5",)

    def commit_file(self, shard: int) -> str:
        """The record is beside the shard."""
        return f"commit.{shard}.json"

    def shard_bytes(self, geometry: ShardGeometry, shard: int) -> int:
        """Bytes of a head, codes and scales; the bound of a compressed image has room for its index entry."""
        compressor = geometry.compression
        image = geometry.image_bytes if compressor is None else compressor.bound(geometry.image_bytes)
        head = _HEAD_BYTES if compressor is None else 2 * _HEAD_BYTES
        return head + geometry.rows(shard) * (image + geometry.image_scale_bytes)

    def stream(self, file: ByteSink, geometry: ShardGeometry, shard: int) -> ShardStream:
        """Begin a shard file."""
        (name,) = self.shard_files(geometry, shard)
        if geometry.compression is None:
            return ContiguousShard(file, geometry, geometry.rows(shard), name)
        return CompressedShard(file, geometry, geometry.rows(shard), name)


class ContiguousShard:
    """Streams a shard of uncompressed codes: head, codes row by row, scales."""

    def __init__(self, file: ByteSink, geometry: ShardGeometry, rows: int, name: str) -> None:
        self._file = file
        self._geometry = geometry
        self._name = name
        head, self._offsets = _head(_datasets(geometry, rows))
        file.write(head)

    def append(self, values: Shaped[np.ndarray, "sites tokens width"]) -> None:
        """Write one row."""
        self._file.write(values.data)

    def finish(self, scales: Shaped[np.ndarray, "rows sites tokens groups"] | None) -> FinishedShard:
        """Write the scales."""
        codes = Strided(file=self._name, offset=self._offsets[0], stride=self._geometry.image_bytes)
        if scales is None:
            return FinishedShard(codes, None, {})
        self._file.write(scales.astype(scales.dtype.newbyteorder("<"), copy=False).tobytes())
        place = Strided(file=self._name, offset=self._offsets[1], stride=scales[0].nbytes)
        return FinishedShard(codes, place, {})


class CompressedShard:
    """Compresses the rows of a shard and composes its file in memory at the end."""

    def __init__(self, file: ByteSink, geometry: ShardGeometry, rows: int, name: str) -> None:
        self._file = file
        self._geometry = geometry
        self._rows = rows
        self._name = name
        self._chunks: list[bytes] = []

    def append(self, values: Shaped[np.ndarray, "sites tokens width"]) -> None:
        """Compress one row."""
        compressor = self._geometry.compression
        assert compressor is not None, "compressed shards have a compressor"
        self._chunks.append(compressor.encode(values))

    def finish(self, scales: Shaped[np.ndarray, "rows sites tokens groups"] | None) -> FinishedShard:
        """Compose the file and write it."""
        memory = io.BytesIO()
        with h5py.File(memory, "w", libver=_LIBVER) as composed:
            datasets = _create(composed, _datasets(self._geometry, self._rows), self._geometry.compression)
            if scales is not None:
                datasets[1][...] = scales
            for row, chunk in enumerate(self._chunks):
                datasets[0].id.write_direct_chunk((row, 0, 0, 0), chunk)
            places = [datasets[0].id.get_chunk_info_by_coord((row, 0, 0, 0)) for row in range(self._rows)]
            offset = None if scales is None else datasets[1].id.get_offset()
        self._file.write(memory.getbuffer())
        records = [
            (place.byte_offset, place.size, crc32c(chunk))
            for place, chunk in zip(places, self._chunks, strict=True)
        ]
        codes = Chunked(file=self._name, chunks=np.array(records, CHUNK_RECORD).tobytes().hex())
        if scales is None or offset is None:
            return FinishedShard(codes, None, {})
        return FinishedShard(codes, Strided(file=self._name, offset=offset, stride=scales[0].nbytes), {})


_Dataset = tuple[str, tuple[int, ...], str, str]
"""Name, shape, dtype, names of the axes."""


def _datasets(geometry: ShardGeometry, rows: int) -> tuple[_Dataset, ...]:
    layout = geometry.layout
    codes = ("codes", (rows, *geometry.codes_shape[1:]), layout.dtype, _CODES_AXES)
    if layout.scale_dtype is None:
        return (codes,)
    return (codes, ("scales", (rows, *geometry.scales_shape[1:]), layout.scale_dtype, _SCALES_AXES))


def _create(
    file: h5py.File, datasets: Sequence[_Dataset], compressor: Compressor | None = None
) -> list[h5py.Dataset]:
    """Create data sets without times of creation, whose space is allocated immediately and not filled.

    If there is a compressor, the first one is chunked and filtered instead.
    """
    created = []
    for number, (name, shape, dtype, axes) in enumerate(datasets):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        if compressor is not None and number == 0:
            identifier, options = compressor.hdf5_filter()
            properties.set_chunk((1, *shape[1:]))
            properties.set_filter(identifier, h5py.h5z.FLAG_MANDATORY, options)
        else:
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(tuple(shape))
        stored = h5py.h5t.py_create(np.dtype(dtype).newbyteorder("<"))
        h5py.h5d.create(file.id, name.encode(), stored, space, properties)
        file[name].attrs["axes"] = np.bytes_(axes)
        created.append(file[name])
    return created


@lru_cache(maxsize=64)
def _head(datasets: tuple[_Dataset, ...]) -> tuple[bytes, list[int]]:
    """The bytes before the values of contiguous data sets, and the offset of each data set."""
    # A real file, because only there does HDF5 put its metadata into one block. The file is sparse: nothing
    # is written into the space of the values.
    with tempfile.NamedTemporaryFile(prefix="losa-head-", suffix=".h5") as sparse:
        with h5py.File(sparse.name, "w", libver=_LIBVER) as file:
            created = _create(file, datasets)
            # An empty data set has no offset.
            offsets = [dataset.id.get_offset() or _HEAD_BYTES for dataset in created]
            sizes = [dataset.nbytes for dataset in created]
        ends = [offset + size for offset, size in zip(offsets, sizes, strict=True)]
        length = max(Path(sparse.name).stat().st_size, _HEAD_BYTES)
        assert (offsets[0], ends) == (_HEAD_BYTES, [*offsets[1:], length]), (
            f"HDF5 laid {datasets} at {offsets}"
        )
        return sparse.read(_HEAD_BYTES).ljust(_HEAD_BYTES, b"\0"), offsets
