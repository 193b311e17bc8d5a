"""Commit records: a shard is committed once its record is published."""

from dataclasses import asdict
from typing import Annotated, Literal

import numpy as np
from jaxtyping import UInt32
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT, Count, Name, Sha256
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import refuse_other_version
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES, ShardImages
from losa.cache_format.shards.statistics import SiteStatistics
from losa.cache_format.storage.atomic_writes import publish
from losa.cache_format.storage.file_record import FileRecord
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.sealed_json import seal, unseal_encoded
from losa.cache_format.stores.base import CHUNK_RECORD, Extent, FileName, Hex, Strided


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Commit:
    """The record of a finished shard: its files, the places and checksums of its images, and statistics."""

    version: Literal[1] = 1
    features_sha256: Sha256
    """Hash of the feature identity."""
    segment: Name
    segment_keys_sha256: Sha256
    shard: Count
    rows: Annotated[Count, Field(ge=1)]
    files: Annotated[dict[FileName, FileRecord], Field(min_length=1, max_length=2)]
    """File name -> record of each file of the shard; names are relative to the segment."""
    codes: Extent
    """Places of the codes of every row."""
    scales: Strided | None
    """Places of the scales of every row; None if the codec has no scales."""
    site_crc32c: Hex
    """`site_checksum` of every row and site, as little-endian ``u4`` in hexadecimal digits."""
    source_blake2b: Hex
    """blake2b-128 of the file of every row's image, in hexadecimal digits; zeros for an invalid row."""
    invalid: dict[str, str]
    """Invalid row in the shard -> why its image could not be decoded. The codes of such rows are zeros."""
    statistics: tuple[SiteStatistics, ...]
    """Statistics of each site over the valid rows."""

    def __post_init__(self) -> None:
        """Refuse vectors of wrong lengths, rows that do not exist, and places outside the files."""
        if len(self.site_crc32c) != self.rows * len(self.statistics) * 8:
            raise ValueError(f"site_crc32c: {len(self.site_crc32c)} digits for {self.rows} rows")
        if len(self.source_blake2b) != self.rows * SOURCE_HASH_BYTES * 2:
            raise ValueError(f"source_blake2b: {len(self.source_blake2b)} digits for {self.rows} rows")
        for row in self.invalid:
            if not (row.isascii() and row.isdigit() and row == str(int(row)) and int(row) < self.rows):
                raise ValueError(f"invalid: there is no row {row}")
        for name, extent in (("codes", self.codes), ("scales", self.scales)):
            if extent is not None and _end(name, extent, self.rows) > self._size_of(extent.file):
                raise ValueError(f"{name}: rows are beyond the end of their file")

    def _size_of(self, file: str) -> int:
        if file not in self.files:
            raise ValueError(f"there is no record of file {file}")
        return self.files[file].bytes

    @property
    def checksums(self) -> UInt32[np.ndarray, "rows sites"]:
        """The checksums of all rows and sites as an array."""
        return np.frombuffer(bytes.fromhex(self.site_crc32c), "<u4").reshape(self.rows, -1)

    @property
    def images(self) -> ShardImages:
        """What became of the images, without the places and checksums of their codes."""
        return ShardImages(shard=self.shard, sources=bytes.fromhex(self.source_blake2b), invalid=self.invalid)

    def write(self, path: CachePath) -> None:
        """Publish the record at ``path``."""
        publish(path, seal(asdict(self)))

    @classmethod
    def parse(cls, data: bytes, path: CachePath) -> "Commit":
        """Parse and validate a record; errors name ``path``.

        Raises:
            CorruptCache: the record is damaged.
            CacheError: it has a version this losa does not know.
        """
        content, encoding = unseal_encoded(data, path)
        refuse_other_version(content, path)
        try:
            return _ADAPTER.validate_json(encoding)
        except ValidationError as error:
            raise CorruptCache(f"{path} is not a valid commit record: {error.errors()[0]['msg']}") from None


def _end(name: str, extent: Extent, rows: int) -> int:
    """Offset just after the last byte of the rows, in exact arithmetic."""
    if isinstance(extent, Strided):
        return extent.row_offset(rows)
    if len(extent.chunks) != rows * CHUNK_RECORD.itemsize * 2:
        raise ValueError(f"{name}: {len(extent.chunks)} digits for {rows} rows")
    return max(int(chunk["offset"]) + int(chunk["bytes"]) for chunk in extent.table)


_ADAPTER = TypeAdapter(Commit)
