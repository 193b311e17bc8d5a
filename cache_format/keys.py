"""Image keys on disk: all UTF-8 bytes in one array, the places where keys begin in another.

Zarr readers disagree about string types; bytes and offsets are read by all of them.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import hash_keys
from losa.cache_format.manifest import Segment
from losa.cache_format.zarr_layout import read_array, write_array, write_group


def write_keys(folder: Path, keys: Sequence[str]) -> None:
    """Write the keys of a segment as group ``keys`` with arrays ``bytes`` and ``offsets``."""
    encoded = [key.encode() for key in keys]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    write_group(folder / "keys")
    write_array(folder / "keys" / "offsets", offsets, ["offsets"])
    write_array(folder / "keys" / "bytes", np.frombuffer(b"".join(encoded), np.uint8), ["bytes"])


def read_keys(folder: Path, segment: Segment) -> list[str]:
    """The keys of a segment.

    Raises:
        CorruptCache: they are not the keys whose hash the manifest has.
    """
    offsets = read_array(folder / "keys" / "offsets", "int64", [segment.images + 1])
    total = int(offsets[-1])
    if not 0 <= total <= 2**40 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise CorruptCache(f"{folder / 'keys' / 'offsets'}: not a rising list of offsets")
    data = read_array(folder / "keys" / "bytes", "uint8", [total]).tobytes()
    try:
        keys = [data[start:end].decode() for start, end in pairwise(offsets.tolist())]
    except UnicodeDecodeError as error:
        raise CorruptCache(f"{folder / 'keys'}: {error}") from None
    if hash_keys(keys) != segment.keys_sha256:
        raise CorruptCache(f"{folder / 'keys'}: not the keys whose hash stands in the manifest")
    return keys
