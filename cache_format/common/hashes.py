"""sha256 hashes of image keys and of arrays, as the manifest records them."""

import hashlib
from collections.abc import Iterable

import numpy as np


def hash_keys(keys: Iterable[str]) -> str:
    """sha256 of a list of keys. The length in bytes precedes each key, so that different lists differ."""
    digest = hashlib.sha256()
    for key in keys:
        encoded = key.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """sha256 of the dtype, shape and little-endian C-order bytes of an array."""
    digest = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
