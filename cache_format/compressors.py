"""Lossless compression of codes, image by image, through numcodecs.

Both stores hold the same compressed bytes: zarr names the codec in its metadata, HDF5 the filter that
hdf5plugin registers. Quantised activations are nearly incompressible (docs/caching.md has figures), so the
default is none.
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
    """zstd as it is; ``blosc`` is zstd and ``lz4`` is LZ4 behind blosc's bit shuffle."""

    name: CompressorName
    itemsize: int
    """Bytes of one code, which the shuffle takes apart."""

    def encode(self, data: Any) -> bytes:
        """Compress one image. The same bytes give the same result, whatever the number of threads."""
        if self.name == "zstd":
            return bytes(Zstd(level=ZSTD_LEVEL).encode(data))
        codec = Blosc(cname=_BLOSC[self.name], clevel=BLOSC_LEVEL, shuffle=Blosc.BITSHUFFLE)
        # Blosc's threads lay blocks down in the order in which they finish.
        with _global_switch:
            before, blosc.use_threads = blosc.use_threads, False
            try:
                return bytes(codec.encode(np.frombuffer(data, f"V{self.itemsize}")))
            finally:
                blosc.use_threads = before

    def decode(self, data: Any, out: Any, where: str) -> None:
        """Decompress one image into a buffer of exactly its size.

        The caller knows the checksum of the data: not every damage can be seen here.

        Raises:
            CorruptCache: the data cannot be decompressed into the buffer.
        """
        try:
            if self.name == "zstd":
                Zstd().decode(data, out=out)
            else:
                _refuse_other_sizes(memoryview(data).nbytes, memoryview(out).nbytes, data)
                Blosc().decode(data, out=out)
        except (RuntimeError, ValueError) as error:
            raise CorruptCache(f"{where}: cannot be decompressed ({error})") from None

    def bound(self, size: int) -> int:
        """Most bytes that an image of ``size`` bytes is compressed to."""
        return size + size // 64 + 1024

    def zarr_codec(self) -> dict[str, Any]:
        """The codec in zarr metadata."""
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
        """Number and options of the HDF5 filter."""
        import hdf5plugin  # registers the filters with HDF5, and takes a while to load

        if self.name == "zstd":
            chosen = hdf5plugin.Zstd(clevel=ZSTD_LEVEL)
        else:
            chosen = hdf5plugin.Blosc(
                cname=_BLOSC[self.name], clevel=BLOSC_LEVEL, shuffle=hdf5plugin.Blosc.BITSHUFFLE
            )
        return chosen.filter_id, tuple(chosen.filter_options)


def _refuse_other_sizes(packed: int, image: int, data: Any) -> None:
    """Blosc believes the sizes in its header, and reads beyond the end of data that was cut short."""
    said_image, _, said_packed = np.frombuffer(data, "<u4", count=3, offset=4).tolist()
    if (said_image, said_packed) != (image, packed):
        raise ValueError(
            f"its header says {said_packed} bytes for {said_image}; there are {packed} for {image}"
        )
