"""The interface of all stores, and the types that it uses."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Shaped
from pydantic import Field
from pydantic.dataclasses import dataclass as record

from losa.cache_format.codecs import CodeLayout
from losa.cache_format.codecs.compressors import Compressor, CompressorName
from losa.cache_format.common.fields import STRICT, Count

StoreName = Literal["zarr", "hdf5"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*$")]
"""Path of a file relative to a folder of the cache. No part of it can be ``..``."""
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]

CACHE_LINE_BYTES = 64
"""Size of a processor's cache line, to which uncompressed images and the memory for them are aligned."""
CHUNK_RECORD = np.dtype([("offset", "<u8"), ("bytes", "<u8"), ("crc32c", "<u4")])
"""Place and checksum of one compressed image."""


class MetadataArray(NamedTuple):
    """An array that is read and written as a whole, with the names of its axes."""

    values: Shaped[np.ndarray, "*shape"]
    axes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ShardGeometry:
    """Shapes of the arrays of a segment, and the division of their rows into shards."""

    images: int
    rows_per_shard: int
    sites: int
    tokens: int
    layout: CodeLayout
    compressor: CompressorName | None

    @cached_property
    def compression(self) -> Compressor | None:
        """The compressor of the codes; None if they are not compressed."""
        if self.compressor is None:
            return None
        return Compressor(self.compressor, np.dtype(self.layout.dtype).itemsize)

    @cached_property
    def codes_shape(self) -> tuple[int, int, int, int]:
        """Shape of the codes: images, sites, tokens, stored width."""
        return (self.images, self.sites, self.tokens, self.layout.width)

    @cached_property
    def scales_shape(self) -> tuple[int, int, int, int]:
        """Shape of the scales: images, sites, tokens, groups; 0 groups if the codec has no scales."""
        return (self.images, self.sites, self.tokens, self.layout.groups)

    @cached_property
    def site_bytes(self) -> int:
        """Bytes of the codes of one site of one image."""
        return self.tokens * self.layout.width * np.dtype(self.layout.dtype).itemsize

    @cached_property
    def image_bytes(self) -> int:
        """Bytes of the codes of one image."""
        return self.sites * self.site_bytes

    @cached_property
    def site_scale_bytes(self) -> int:
        """Bytes of the scales of one site of one image; 0 if the codec has none."""
        if self.layout.scale_dtype is None:
            return 0
        return self.tokens * self.layout.groups * np.dtype(self.layout.scale_dtype).itemsize

    @cached_property
    def image_scale_bytes(self) -> int:
        """Bytes of the scales of one image; 0 if the codec has none."""
        return self.sites * self.site_scale_bytes

    @property
    def stored_image_bytes(self) -> int:
        """Bytes of one image, uncompressed: its codes and its scales."""
        return self.image_bytes + self.image_scale_bytes

    def rows(self, shard: int) -> int:
        """Number of rows of a shard."""
        return min(self.rows_per_shard, self.images - shard * self.rows_per_shard)


@record(frozen=True, slots=True, kw_only=True, config=STRICT)
class Strided:
    """Places of rows of equal size at equal distances in one file."""

    kind: Literal["strided"] = "strided"
    file: FileName
    offset: Count
    stride: Count

    def row_offset(self, row: int) -> int:
        """Offset of a row in the file, in bytes."""
        return self.offset + row * self.stride


@record(frozen=True, slots=True, kw_only=True, config=STRICT)
class Chunked:
    """Places of compressed rows in one file, which differ in size."""

    kind: Literal["chunked"] = "chunked"
    file: FileName
    chunks: Hex
    """A `CHUNK_RECORD` for every row, in hexadecimal digits."""

    @property
    def table(self) -> np.ndarray:
        """The chunks as a structured array of `CHUNK_RECORD`."""
        return np.frombuffer(bytes.fromhex(self.chunks), CHUNK_RECORD)


Extent: TypeAlias = Strided | Chunked


class FinishedShard(NamedTuple):
    """Places of the rows of a shard, and the files that are written after the streamed file."""

    codes: Extent
    scales: Strided | None
    others: dict[str, bytes]
    """Further files of the shard: name relative to the segment -> content."""


@runtime_checkable  # so that beartype can check it while the tests run
class ByteSink(Protocol):
    """A file that is written from beginning to end."""

    def write(self, data: Any, /) -> int:
        """Write a buffer."""


@runtime_checkable  # as above
class ShardStream(Protocol):
    """Streams the rows of one shard into its main file."""

    def append(self, values: Shaped[np.ndarray, "sites tokens width"]) -> None:
        """Write the codes of the next row from a C-contiguous array."""

    def finish(self, scales: Shaped[np.ndarray, "rows sites tokens groups"] | None) -> FinishedShard:
        """Write the rest of the file after the rows. The caller closes the file."""


@runtime_checkable  # as above
class Store(Protocol):
    """Lays out arrays in files. All names of files are relative paths."""

    @property
    def name(self) -> StoreName:
        """Name of the store in the manifest and in configurations."""

    @property
    def root(self) -> str:
        """Name of the folder, beside the manifest, that contains all arrays."""

    def group_files(self) -> dict[str, bytes]:
        """Files that make a folder a group, relative to the folder."""

    def array_files(self, name: str, array: MetadataArray) -> dict[str, bytes]:
        """The files of a metadata array, relative to ``root``; ``name`` is the path of the array."""

    def array_file(self, name: str, axes: int) -> str:
        """The one among the `array_files` that has the values, for an array of ``axes`` axes."""

    def array_bytes(self, data: bytes, size: int) -> bytes:
        """The ``size`` bytes of values in the content of `array_file`; empty if the sizes do not fit."""

    def shard_descriptions(self, geometry: ShardGeometry) -> dict[str, bytes]:
        """Files that describe the arrays stored in shards, relative to the segment."""

    def shard_files(self, geometry: ShardGeometry, shard: int) -> tuple[str, ...]:
        """The files of a shard, relative to the segment; the first one is streamed."""

    def commit_file(self, shard: int) -> str:
        """The commit record of a shard, at a place that other readers of the store ignore."""

    def shard_bytes(self, geometry: ShardGeometry, shard: int) -> int:
        """Bytes of a shard's files; an upper bound if the codes are compressed."""

    def stream(self, file: ByteSink, geometry: ShardGeometry, shard: int) -> ShardStream:
        """Begin the main file of a shard."""
