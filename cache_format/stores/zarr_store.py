"""The zarr store, version 3: metadata documents, whole arrays, and shards of images at known offsets.

losa writes these bytes itself because zarr-python neither syncs files nor keeps shards of zeros, and because
shards have to be streamed. Any zarr reader can open the result.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from crc32c import crc32c
from jaxtyping import Shaped

from losa.cache_format.stores.base import (
    CACHE_LINE_BYTES,
    CHUNK_RECORD,
    ByteSink,
    Chunked,
    FinishedShard,
    MetadataArray,
    ShardGeometry,
    Strided,
)

METADATA_NAME = "zarr.json"
CHECKSUM_BYTES = 4
_LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC32C = {"name": "crc32c"}
_ABSENT = np.iinfo(np.uint64).max
"""Marks an absent chunk in a shard index."""


def chunk_name(*index: int) -> str:
    """File name of a chunk: ``c`` and its index, joined by dots, so that all chunks are in one folder.

    >>> chunk_name(3, 0, 0, 0)
    'c.3.0.0.0'
    """
    return ".".join(["c", *map(str, index)])


def checksum(data: Any) -> bytes:
    """crc32c of a buffer as zarr's ``crc32c`` codec appends it: four little-endian bytes."""
    return crc32c(data).to_bytes(CHECKSUM_BYTES, "little")


class ZarrStore:
    """Stores a cache as one zarr group: codes in shards of a chunk per image, scales in a chunk per shard."""

    name: Literal["zarr"] = "zarr"
    root = "arrays.zarr"

    def group_files(self) -> dict[str, bytes]:
        """The metadata of a group."""
        return {METADATA_NAME: _encode({"zarr_format": 3, "node_type": "group", "attributes": {}})}

    def array_files(self, name: str, array: MetadataArray) -> dict[str, bytes]:
        """The metadata and one chunk with the whole array; an empty array has no chunk."""
        values, axes = array
        chunk = [max(1, length) for length in values.shape]
        files = {
            f"{name}/{METADATA_NAME}": _array_metadata(
                shape=values.shape, dtype=values.dtype.name, chunk=chunk, axes=axes
            )
        }
        data = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        if data:
            files[self.array_file(name, values.ndim)] = data + checksum(data)
        return files

    def array_file(self, name: str, axes: int) -> str:
        """The only chunk of the array."""
        return f"{name}/{chunk_name(*[0] * axes)}"

    def array_bytes(self, data: bytes, size: int) -> bytes:
        """The chunk without its checksum."""
        return data[:size] if len(data) == size + CHECKSUM_BYTES else b""

    def shard_descriptions(self, geometry: ShardGeometry) -> dict[str, bytes]:
        """Metadata of ``codes`` and, if the codec has them, ``scales``."""
        rows, layout = geometry.rows_per_shard, geometry.layout
        compressor = geometry.compression
        files = {
            f"codes/{METADATA_NAME}": _array_metadata(
                shape=geometry.codes_shape,
                dtype=layout.dtype,
                chunk=(rows, *geometry.codes_shape[1:]),
                inner_chunk=(1, *geometry.codes_shape[1:]),
                compression=[] if compressor is None else [compressor.zarr_codec()],
                axes=("images", "sites", "tokens", "width"),
            )
        }
        if layout.scale_dtype is not None:
            files[f"scales/{METADATA_NAME}"] = _array_metadata(
                shape=geometry.scales_shape,
                dtype=layout.scale_dtype,
                chunk=(rows, *geometry.scales_shape[1:]),
                axes=("images", "sites", "tokens", "groups"),
            )
        return files

    def shard_files(self, geometry: ShardGeometry, shard: int) -> tuple[str, ...]:
        """A zarr shard of codes and, if there are scales, a zarr chunk of them."""
        name = chunk_name(shard, 0, 0, 0)
        return (f"codes/{name}", f"scales/{name}") if geometry.site_scale_bytes else (f"codes/{name}",)

    def commit_file(self, shard: int) -> str:
        """The record is in the folder of an array, which zarr readers do not list."""
        return f"codes/commit.{shard}.json"

    def shard_bytes(self, geometry: ShardGeometry, shard: int) -> int:
        """Bytes of images with checksums and padding, the shard index, and scales padded to a full shard."""
        compressor = geometry.compression
        stride = _stride(geometry)
        if compressor is not None:
            stride = compressor.bound(geometry.image_bytes) + CHECKSUM_BYTES
        codes = geometry.rows(shard) * stride + geometry.rows_per_shard * 16 + CHECKSUM_BYTES
        scales = geometry.rows_per_shard * geometry.image_scale_bytes
        return codes + (scales + CHECKSUM_BYTES if scales else 0)

    def stream(self, file: ByteSink, geometry: ShardGeometry, shard: int) -> "ZarrShard":
        """Begin a zarr shard."""
        return ZarrShard(file, geometry, *self.shard_files(geometry, shard))


class ZarrShard:
    """Streams a shard: chunk, crc32c, zeros to the next cache line, chunk, ..., index, crc32c of the index.

    There are no zeros between compressed chunks.
    """

    def __init__(
        self, file: ByteSink, geometry: ShardGeometry, codes_file: str, scales_file: str | None = None
    ) -> None:
        self._file = file
        self._geometry = geometry
        self._codes_file = codes_file
        self._scales_file = scales_file
        self._compressor = geometry.compression
        self._chunks: list[tuple[int, int, int]] = []
        self._position = 0

    def append(self, values: Shaped[np.ndarray, "sites tokens width"]) -> None:
        """Write one chunk with its checksum."""
        data = values.data if self._compressor is None else self._compressor.encode(values)
        size = values.nbytes if self._compressor is None else len(data)
        crc = crc32c(data)
        self._file.write(data)
        self._file.write(crc.to_bytes(CHECKSUM_BYTES, "little"))
        self._chunks.append((self._position, size, crc))
        used = size + CHECKSUM_BYTES
        stride = used if self._compressor is not None else _stride(self._geometry)
        self._file.write(bytes(stride - used))
        self._position += stride

    def finish(self, scales: Shaped[np.ndarray, "rows sites tokens groups"] | None) -> FinishedShard:
        """Write the index. The scales are a separate file, padded to a full shard as zarr requires."""
        chunks = np.array(self._chunks, CHUNK_RECORD)
        index = np.full((self._geometry.rows_per_shard, 2), _ABSENT, "<u8")
        index[: len(chunks), 0] = chunks["offset"]
        index[: len(chunks), 1] = chunks["bytes"] + CHECKSUM_BYTES
        self._file.write(index.tobytes())
        self._file.write(checksum(index.tobytes()))
        codes: Strided | Chunked = (
            Strided(file=self._codes_file, offset=0, stride=_stride(self._geometry))
            if self._compressor is None
            else Chunked(file=self._codes_file, chunks=chunks.tobytes().hex())
        )
        if scales is None or self._scales_file is None:
            return FinishedShard(codes, None, {})
        padded = np.zeros((self._geometry.rows_per_shard, *scales.shape[1:]), scales.dtype.newbyteorder("<"))
        padded[: len(scales)] = scales
        data = padded.tobytes()
        place = Strided(file=self._scales_file, offset=0, stride=scales[0].nbytes)
        return FinishedShard(codes, place, {self._scales_file: data + checksum(data)})


def _stride(geometry: ShardGeometry) -> int:
    """Bytes from the beginning of an uncompressed image to that of the next one.

    A multiple of a cache line: from there the kernel copies into aligned memory 1.5 times as fast.
    """
    return -(-(geometry.image_bytes + CHECKSUM_BYTES) // CACHE_LINE_BYTES) * CACHE_LINE_BYTES


def _array_metadata(
    *,
    shape: Sequence[int],
    dtype: str,
    chunk: Sequence[int],
    axes: Sequence[str],
    inner_chunk: Sequence[int] | None = None,
    compression: Sequence[dict[str, Any]] = (),
) -> bytes:
    """Metadata of an array.

    Args:
        shape: logical shape.
        dtype: zarr's name of the data type.
        chunk: shape of the part of the array in one file.
        axes: dimension names.
        inner_chunk: shape of the chunks in each file, which is a shard with its index at the end; if None,
            files are not sharded.
        compression: codecs between the bytes and their checksum.
    """
    codecs: list[dict[str, Any]] = [_LITTLE_ENDIAN, *compression, _CRC32C]
    if inner_chunk is not None:
        sharding = {
            "chunk_shape": list(inner_chunk),
            "codecs": codecs,
            "index_codecs": [_LITTLE_ENDIAN, _CRC32C],
            "index_location": "end",
        }
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    content = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": codecs,
        "dimension_names": list(axes),
        "attributes": {},
    }
    return _encode(content)


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
