"""What a store has to answer, and the words in which it answers."""

from dataclasses import dataclass
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
    """An array that is read and written as a whole: keys, labels, indices, constants."""

    values: Shaped[np.ndarray, "*shape"]
    axes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardGeometry:
    """Shapes of the arrays of a segment, and how their rows are cut into shards."""

    images: int
    rows_per_shard: int
    sites: int
    tokens: int
    layout: CodeLayout
    compressor: CompressorName | None

    @property
    def compression(self) -> Compressor | None:
        """What compresses an image's codes."""
        if self.compressor is None:
            return None
        return Compressor(self.compressor, np.dtype(self.layout.dtype).itemsize)

    @property
    def codes_shape(self) -> tuple[int, int, int, int]:
        """Images, sites, tokens, stored width."""
        return (self.images, self.sites, self.tokens, self.layout.width)

    @property
    def scales_shape(self) -> tuple[int, int, int, int]:
        """Images, sites, tokens, groups; no groups if the codec has no scales."""
        return (self.images, self.sites, self.tokens, self.layout.groups)

    @property
    def site_bytes(self) -> int:
        """Bytes of the codes of one site of one image."""
        return self.tokens * self.layout.width * np.dtype(self.layout.dtype).itemsize

    @property
    def image_bytes(self) -> int:
        """Bytes of the codes of one image."""
        return self.sites * self.site_bytes

    @property
    def site_scale_bytes(self) -> int:
        """Bytes of the scales of one site of one image; 0 if the codec has none."""
        if self.layout.scale_dtype is None:
            return 0
        return self.tokens * self.layout.groups * np.dtype(self.layout.scale_dtype).itemsize

    @property
    def image_scale_bytes(self) -> int:
        """Bytes of the scales of one image; 0 if the codec has none."""
        return self.sites * self.site_scale_bytes

    @property
    def stored_site_bytes(self) -> int:
        """Bytes of one site of one image, uncompressed: its codes and its scales."""
        return self.site_bytes + self.site_scale_bytes

    @property
    def stored_image_bytes(self) -> int:
        """Bytes of one image, uncompressed: its codes and its scales."""
        return self.sites * self.stored_site_bytes

    def rows(self, shard: int) -> int:
        """Rows of a shard."""
        return min(self.rows_per_shard, self.images - shard * self.rows_per_shard)


@record(frozen=True, slots=True, kw_only=True, config=STRICT)
class Strided:
    """Rows of equal size at equal distances in one file."""

    kind: Literal["strided"] = "strided"
    file: FileName
    offset: Count
    stride: Count

    def row_offset(self, row: int) -> int:
        """Where a row begins, in bytes from the beginning of the file."""
        return self.offset + row * self.stride


@record(frozen=True, slots=True, kw_only=True, config=STRICT)
class Chunked:
    """Compressed rows in one file, each with a place of its own."""

    kind: Literal["chunked"] = "chunked"
    file: FileName
    chunks: Hex
    """For every row a `CHUNK_RECORD`."""

    @property
    def table(self) -> np.ndarray:
        """The chunks as a structured array."""
        return np.frombuffer(bytes.fromhex(self.chunks), CHUNK_RECORD)


Extent: TypeAlias = Strided | Chunked


class FinishedShard(NamedTuple):
    """Where the rows of a shard stand."""

    codes: Extent
    scales: Strided | None
    others: dict[str, bytes]
    """Files of the shard beside the one that was streamed: name relative to the segment -> content."""


@runtime_checkable  # so that beartype can check it while the tests run
class ByteSink(Protocol):
    """What is written to from beginning to end."""

    def write(self, data: Any, /) -> int:
        """Write a buffer."""


@runtime_checkable  # as above
class ShardStream(Protocol):
    """Takes the rows of one shard and streams them into its main file."""

    def append(self, values: Shaped[np.ndarray, "sites tokens width"]) -> None:
        """Write the codes of the next row, a C-contiguous array."""

    def finish(self, scales: Shaped[np.ndarray, "rows sites tokens groups"] | None) -> FinishedShard:
        """Write what follows the rows. The caller closes the file."""


@runtime_checkable  # as above
class Store(Protocol):
    """How arrays become files. Names are relative to the folder that is named along with them."""

    @property
    def name(self) -> StoreName:
        """The store's name in manifest and configuration."""

    @property
    def root(self) -> str:
        """Folder beside the manifest in which all arrays stand."""

    def group_files(self) -> dict[str, bytes]:
        """Files that make a folder a group."""

    def array_files(self, name: str, array: MetadataArray) -> dict[str, bytes]:
        """The files of a small array; `name` is its path."""

    def array_file(self, name: str, axes: int) -> str:
        """Of these, the one with the values."""

    def array_bytes(self, data: bytes, size: int) -> bytes:
        """The ``size`` bytes of values in that file's content, which has passed its checksum."""

    def shard_descriptions(self, geometry: ShardGeometry) -> dict[str, bytes]:
        """Files that describe the arrays whose rows stand in shards."""

    def shard_files(self, geometry: ShardGeometry, shard: int) -> tuple[str, ...]:
        """The files of a shard; the first is the one that is streamed."""

    def commit_file(self, shard: int) -> str:
        """The commit record of a shard: where readers of the store do not stumble over it."""

    def shard_bytes(self, geometry: ShardGeometry, shard: int) -> int:
        """Bytes of a shard's files; with a compressor, what they have at most."""

    def stream(self, file: ByteSink, geometry: ShardGeometry, shard: int) -> ShardStream:
        """Begin a shard."""
