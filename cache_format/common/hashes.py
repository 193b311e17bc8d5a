"""sha256 of image keys and of arrays, as records name them."""

import hashlib
from collections.abc import Iterable

import numpy as np


def hash_keys(keys: Iterable[str]) -> str:
    """sha256 over ordered keys; each is preceded by its length in bytes, so no two lists collide."""
    digest = hashlib.sha256()
    for key in keys:
        encoded = key.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """sha256 over dtype, shape and little-endian C-order bytes."""
    digest = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
