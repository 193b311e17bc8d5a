"""Lossless compression of codes, image by image, through numcodecs.

Both stores hold the same compressed bytes: zarr names the codec in its metadata, HDF5 the filter that
hdf5plugin registers. Quantised activations are nearly incompressible (docs/cache-measurements.md has
figures), so the default is none.
"""

import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numcodecs import Blosc, Zstd, blosc

from losa.cache_format.errors import CorruptCache

CompressorName = Literal["zstd", "blosc", "lz4"]

ZSTD_LEVEL = 3
BLOSC_LEVEL = 5
_BLOSC: dict[str, Literal["zstd", "lz4"]] = {"blosc": "zstd", "lz4": "lz4"}
_global_switch = threading.Lock()


@dataclass(frozen=True, slots=True)
class Compressor:
    """A lossless compressor: plain zstd, or zstd (``blosc``) or LZ4 (``lz4``) after blosc's bit shuffle."""

    name: CompressorName
    itemsize: int
    """Bytes of one stored number, whose bits blosc shuffles."""

    def encode(self, data: Any) -> bytes:
        """Compress one image. The result does not depend on the number of threads."""
        if self.name == "zstd":
            return bytes(Zstd(level=ZSTD_LEVEL).encode(data))
        codec = Blosc(cname=_BLOSC[self.name], clevel=BLOSC_LEVEL, shuffle=Blosc.BITSHUFFLE)
        # Blosc's threads write blocks in the order in which they finish.
        with _global_switch:
            before, blosc.use_threads = blosc.use_threads, False
            try:
                return bytes(codec.encode(np.frombuffer(data, f"V{self.itemsize}")))
            finally:
                blosc.use_threads = before

    def decode(self, data: Any, out: Any, where: str) -> None:
        """Decompress one image into a buffer of exactly its size.

        The caller checks the checksum of the data first: not all damage can be detected here.

        Raises:
            CorruptCache: the data cannot be decompressed into the buffer.
        """
        # Neither library is safe with wrong headers: zstd silently fills only a part of a larger buffer, and
        # blosc reads as many bytes as the header says.
        expected = memoryview(out).nbytes
        stated = (_zstd_size if self.name == "zstd" else _blosc_size)(memoryview(data).cast("B"))
        if stated != expected:
            raise CorruptCache(
                f"{where}: cannot be decompressed (expected {expected} bytes, its header says {stated})"
            )
        try:
            codec = Zstd() if self.name == "zstd" else Blosc()
            codec.decode(data, out=out)
        except (RuntimeError, ValueError) as error:
            raise CorruptCache(f"{where}: cannot be decompressed ({error})") from None

    def bound(self, size: int) -> int:
        """Upper bound of the compressed size of an image of ``size`` bytes."""
        return size + size // 64 + 1024

    def most(self, size: int) -> int:
        """Upper bound of the decompressed size of ``size`` bytes: zstd can store 128 KiB in 4 bytes."""
        return size * 2**15

    def zarr_codec(self) -> dict[str, Any]:
        """The compressor as a codec in zarr metadata."""
        if self.name == "zstd":
            return {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}
        return {
            "name": "blosc",
            "configuration": {
                "typesize": self.itemsize,
                "cname": _BLOSC[self.name],
                "clevel": BLOSC_LEVEL,
                "shuffle": "bitshuffle",
                "blocksize": 0,
            },
        }

    def hdf5_filter(self) -> tuple[int, tuple[int, ...]]:
        """Number and options of the compressor as an HDF5 filter."""
        import hdf5plugin  # registers the filters with HDF5, and takes a while to load

        if self.name == "zstd":
            chosen = hdf5plugin.Zstd(clevel=ZSTD_LEVEL)
        else:
            chosen = hdf5plugin.Blosc(
                cname=_BLOSC[self.name], clevel=BLOSC_LEVEL, shuffle=hdf5plugin.Blosc.BITSHUFFLE
            )
        return chosen.filter_id, tuple(chosen.filter_options)


def _zstd_size(data: memoryview) -> int | None:
    """Content size in the header of a zstd frame (RFC 8878, 3.1.1); None if it has none."""
    if len(data) < 5 or bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
        return None
    flag, single_segment = data[4] >> 6, data[4] >> 5 & 1
    length = (single_segment, 2, 4, 8)[flag]
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[data[4] & 3]
    field = data[start : start + length]
    if not length or len(field) != length:
        return None
    return int.from_bytes(field, "little") + (256 if flag == 1 else 0)


def _blosc_size(data: memoryview) -> int | None:
    """Content size in the header of a blosc buffer; None if the header does not fit its size."""
    if len(data) < 16 or int.from_bytes(data[12:16], "little") != len(data):
        return None
    return int.from_bytes(data[4:8], "little")
