"""Zarr v3 as bytes: metadata documents, whole arrays, and shards whose images have known places.

losa writes these bytes itself because zarr-python neither syncs files nor keeps shards of zeros, and
because a shard must be streamed. Any zarr reader opens the result.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c

from losa.cache_format.errors import CorruptCache
from losa.cache_format.publish import make_folder, publish

METADATA_NAME = "zarr.json"
CHECKSUM_BYTES = 4
_LITTLE_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC32C = {"name": "crc32c"}


def chunk_name(*index: int) -> str:
    """File name of a chunk: ``c`` and its index, joined by dots so that an array is one flat folder.

    >>> chunk_name(3, 0, 0, 0)
    'c.3.0.0.0'
    """
    return ".".join(["c", *map(str, index)])


def checksum(data: Any) -> bytes:
    """crc32c of a buffer as zarr's ``crc32c`` codec appends it: four bytes, little-endian."""
    return crc32c(data).to_bytes(CHECKSUM_BYTES, "little")


def write_group(folder: Path) -> None:
    """Make a folder a zarr group."""
    make_folder(folder)
    content = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    publish(folder / METADATA_NAME, _encode(content))


def write_array_metadata(
    folder: Path,
    *,
    shape: Sequence[int],
    dtype: str,
    chunk: Sequence[int],
    axes: Sequence[str],
    inner_chunk: Sequence[int] | None = None,
) -> None:
    """Make a folder a zarr array.

    Args:
        folder: created if missing.
        shape: logical shape.
        dtype: zarr's name of the data type.
        chunk: shape of what one file holds.
        axes: dimension names.
        inner_chunk: with it, files are shards (index at the end) of such chunks.
    """
    codecs: list[dict[str, Any]] = [_LITTLE_ENDIAN, _CRC32C]
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
    make_folder(folder)
    publish(folder / METADATA_NAME, _encode(content))


def write_array(folder: Path, array: np.ndarray, axes: Sequence[str]) -> None:
    """Write a small array as one chunk with its checksum."""
    chunk = [max(1, length) for length in array.shape]
    write_array_metadata(folder, shape=array.shape, dtype=array.dtype.name, chunk=chunk, axes=axes)
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if data:
        publish(folder / chunk_name(*[0] * array.ndim), data + checksum(data))


def read_array(folder: Path, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Read an array written by `write_array`, knowing dtype and shape from elsewhere.

    Raises:
        CorruptCache: the file is missing, or its length or its checksum is wrong. (Not IncompleteCache:
            a manifest is published after the arrays it speaks of, and no later run makes them again.)
    """
    path = folder / chunk_name(*[0] * len(shape))
    count = int(np.prod(shape, dtype=object))
    if not count:
        return np.empty(shape, dtype)
    expected = count * np.dtype(dtype).itemsize + CHECKSUM_BYTES
    try:
        found = path.stat().st_size
        if found != expected:
            raise CorruptCache(f"{path}: expected {expected} bytes, found {found}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptCache(f"{path}: expected {expected} bytes, found no file") from None
    body, stored = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if checksum(body) != stored:
        raise CorruptCache(f"{path}: its crc32c does not fit its content")
    return np.frombuffer(body, np.dtype(dtype).newbyteorder("<")).reshape(shape)


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """Byte places inside a shard of fixed-size chunks: chunk, crc32c, chunk, crc32c, ..., index."""

    slots: int
    """Chunks a full shard has."""
    chunk_bytes: int
    """Bytes of one chunk, without its checksum."""

    @property
    def stride(self) -> int:
        """Distance between the starts of two chunks."""
        return self.chunk_bytes + CHECKSUM_BYTES

    def index(self, present: int) -> bytes:
        """The shard index for ``present`` chunks, with its checksum. Absent chunks are all ones."""
        entries = np.full((self.slots, 2), np.iinfo(np.uint64).max, "<u8")
        entries[:present, 0] = np.arange(present, dtype=np.uint64) * self.stride
        entries[:present, 1] = self.stride
        data = entries.tobytes()
        return data + checksum(data)

    def file_bytes(self, present: int) -> int:
        """Size of a shard file that holds ``present`` chunks."""
        return present * self.stride + self.slots * 16 + CHECKSUM_BYTES


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"
