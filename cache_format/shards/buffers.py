"""Aligned memory, into which the kernel copies at full speed."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from losa.cache_format.codecs import CodeLayout, Codes
from losa.cache_format.stores.base import CACHE_LINE_BYTES


def aligned_empty(shape: Sequence[int], dtype: DTypeLike) -> Shaped[np.ndarray, "..."]:
    """An array like ``numpy.empty``'s that begins at the start of a processor's cache line.

    numpy's own large arrays begin 16 bytes after one, which makes reads a third slower.

    >>> aligned_empty((3, 5), "float16").ctypes.data % CACHE_LINE_BYTES
    0
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


def empty_codes(layout: CodeLayout, shape: tuple[int, int, int]) -> Codes:
    """Uninitialised codes in aligned memory, to be read into.

    Args:
        layout: layout of the codec.
        shape: numbers of images, sites and tokens.
    """
    return Codes(
        aligned_empty((*shape, layout.width), layout.dtype),
        None if layout.scale_dtype is None else aligned_empty((*shape, layout.groups), layout.scale_dtype),
    )
