"""What a file must be: its size and its checksum."""

from typing import Annotated
from zlib import crc32

from pydantic import Field
from pydantic.dataclasses import dataclass

from losa.cache_format.common.fields import STRICT, Count


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FileRecord:
    """What a file must be.

    Its checksum is CRC-32, not CRC-32C: of bytes that end in their own CRC-32C, as zarr chunks do, the
    CRC-32C is one and the same number whatever they are.
    """

    bytes: Count
    crc32: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


def record_of(content: bytes) -> FileRecord:
    """Size and checksum of a file's content."""
    return FileRecord(bytes=len(content), crc32=f"{crc32(content):08x}")
