"""sha256 hashes of image keys and of arrays, as the manifest records them."""

import hashlib
from collections.abc import Iterable
from itertools import islice

import numpy as np


def hash_keys(keys: Iterable[str]) -> str:
    """sha256 of a list of keys. The length in bytes precedes each key, so that different lists differ."""
    digest = hashlib.sha256()
    rest = iter(keys)
    # Many keys at a time, because each call costs as much as hashing a key.
    while part := [key.encode() for key in islice(rest, 4096)]:
        digest.update(b"".join(piece for key in part for piece in (len(key).to_bytes(8, "little"), key)))
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """sha256 of the dtype, shape and little-endian C-order bytes of an array."""
    digest = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
