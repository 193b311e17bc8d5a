"""Image keys on disk: their UTF-8 bytes in one array, the offsets where keys begin in another.

Zarr readers support different string types; all of them can read bytes and offsets.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from losa.cache_format.common.hashes import hash_keys
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Segment
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.stores.base import MetadataArray

_AT_ONCE = 2**16
"""Keys whose offsets are Python numbers at a time; those of all would take as much memory as the keys."""


def key_arrays(keys: Sequence[str]) -> dict[str, MetadataArray]:
    """The keys of a segment as metadata arrays ``keys/offsets`` and ``keys/bytes``."""
    encoded = [key.encode() for key in keys]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return {
        "keys/offsets": MetadataArray(offsets, ("offsets",)),
        "keys/bytes": MetadataArray(np.frombuffer(b"".join(encoded), np.uint8), ("bytes",)),
    }


def read_keys(metadata: CacheMetadata, segment: Segment) -> list[str]:
    """Read the keys of a segment.

    Raises:
        CorruptCache: they are damaged or do not have the hash in the manifest.
    """
    where = f"{metadata.path}: keys of segment {segment.name!r}"
    folder = f"segments/{segment.name}/keys"
    offsets = metadata.read_array(f"{folder}/offsets", "int64", [segment.images + 1])
    total = int(offsets[-1])
    if not 0 <= total <= 2**40 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise CorruptCache(f"{where}: offsets are not a rising list")
    data = metadata.read_array(f"{folder}/bytes", "uint8", [total]).tobytes()
    keys: list[str] = []
    try:
        for first in range(0, segment.images, _AT_ONCE):
            bounds = offsets[first : first + _AT_ONCE + 1].tolist()
            keys += [data[start:end].decode() for start, end in pairwise(bounds)]
    except UnicodeDecodeError as error:
        raise CorruptCache(f"{where}: {error}") from None
    if hash_keys(keys) != segment.keys_sha256:
        raise CorruptCache(f"{where}: not the keys whose hash is in the manifest")
    return keys
