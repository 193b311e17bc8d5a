"""Memory that the kernel can copy into at full speed."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

ALIGNMENT = 64
"""A cache line. numpy's own large arrays begin 16 bytes behind one, which makes reads a third slower."""


def aligned_empty(shape: Sequence[int], dtype: DTypeLike) -> Shaped[np.ndarray, "..."]:
    """An array like ``numpy.empty``'s that begins with a cache line.

    >>> aligned_empty((3, 5), "float16").ctypes.data % ALIGNMENT
    0
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
