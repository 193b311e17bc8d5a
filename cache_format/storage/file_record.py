"""Size and checksum of a file, as the manifest and commit records store them."""

from typing import Annotated
from zlib import crc32

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT, Count


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FileRecord:
    """Expected size and checksum of a file.

    The checksum is CRC-32, not CRC-32C: the CRC-32C of bytes that end in their own CRC-32C, as zarr chunks
    do, is always the same number.
    """

    bytes: Count
    crc32: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


def record_of(content: bytes) -> FileRecord:
    """The record of a file with the given content."""
    return FileRecord(bytes=len(content), crc32=f"{crc32(content):08x}")
