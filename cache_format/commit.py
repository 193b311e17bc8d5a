"""Commit records: a shard counts once its record stands."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import UInt32
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import STRICT, Count, Name, Sha256
from losa.cache_format.publish import publish
from losa.cache_format.sealed_json import canonical, seal, unseal
from losa.cache_format.statistics import SiteStatistics

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]*$")]
SOURCE_HASH_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Commit:
    """What is known of a finished shard."""

    version: Literal[1] = 1
    features_sha256: Sha256
    """Identity of the features."""
    segment: Name
    segment_keys_sha256: Sha256
    shard: Count
    sizes: dict[Name, Count]
    """Array -> bytes of the shard's file in it: `codes`, and `scales` if the codec has them."""
    rows: Annotated[Count, Field(ge=1)]
    crc32c: Hex
    """For every row and site, little-endian: crc32c of the site's codes followed by its scales."""
    sources: Hex
    """For every row: blake2b-128 of the image's bytes as they were read; zeros for an invalid row."""
    invalid: dict[str, str]
    """Row in the shard -> why its image could not be read. The codes of such a row are zeros."""
    statistics: tuple[SiteStatistics, ...]
    """Of each site, over the valid rows."""

    def __post_init__(self) -> None:
        """Refuse vectors whose lengths do not fit the number of rows and sites."""
        if len(self.crc32c) != self.rows * len(self.statistics) * 8:
            raise ValueError(f"crc32c: {len(self.crc32c)} digits for {self.rows} rows")
        if len(self.sources) != self.rows * SOURCE_HASH_BYTES * 2:
            raise ValueError(f"sources: {len(self.sources)} digits for {self.rows} rows")
        for row in self.invalid:
            if not (row.isascii() and row.isdigit() and int(row) < self.rows):
                raise ValueError(f"invalid: there is no row {row}")

    @property
    def checksums(self) -> UInt32[np.ndarray, "rows sites"]:
        """The checksums as an array."""
        return np.frombuffer(bytes.fromhex(self.crc32c), "<u4").reshape(self.rows, -1)

    def write(self, path: Path) -> None:
        """Publish the record."""
        publish(path, seal(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Commit":
        """Read and validate a record.

        Raises:
            FileNotFoundError: the shard was not committed.
            CorruptCache: the record is damaged.
        """
        content = unseal(path.read_bytes(), path)
        try:
            return _ADAPTER.validate_json(canonical(content))
        except ValidationError as error:
            raise CorruptCache(f"{path} is not a valid commit record: {error.errors()[0]['msg']}") from None


_ADAPTER = TypeAdapter(Commit)
