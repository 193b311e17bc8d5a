"""Checksums of stored images: the rule for a site, and the check of compressed codes."""

import numpy as np
from crc32c import crc32c
from jaxtyping import Shaped, UInt8

from losa.cache_format.errors import CorruptCache
from losa.cache_format.stores.base import ShardGeometry


class ChecksumMismatch(CorruptCache):
    """The compressed codes of an image do not fit their checksum."""


def site_checksum(codes: Shaped[np.ndarray, "..."], scales: Shaped[np.ndarray, "..."] | None) -> int:
    """crc32c of the codes of one site of one image, continued over its scales if the codec has scales.

    Both arrays are C-contiguous.
    """
    crc = crc32c(codes.data)
    return crc if scales is None else crc32c(scales.data, crc)


def mismatch(expected: int, found: int) -> str:
    """Description of a wrong checksum."""
    return f"expected crc32c {expected:08x}, found {found:08x}"


def decompress(
    packed: UInt8[np.ndarray, "bytes"], checksum: int, geometry: ShardGeometry, where: str
) -> Shaped[np.ndarray, "sites tokens width"]:
    """Check the compressed codes of one image and decompress them.

    Args:
        packed: the compressed bytes.
        checksum: crc32c that they should have.
        geometry: of the segment, which has a compressor.
        where: name of the file, for errors.

    Raises:
        ChecksumMismatch: the bytes have another checksum.
        CorruptCache: they cannot be decompressed.
    """
    found = crc32c(packed.data)
    if found != checksum:
        raise ChecksumMismatch(f"compressed codes: {mismatch(checksum, found)}")
    compressor = geometry.compression
    assert compressor is not None, "chunks are compressed"
    codes = np.empty(geometry.codes_shape[1:], geometry.layout.dtype)
    compressor.decode(packed, codes, where)
    return codes
