"""Positions of images in a split, as they are written: a slice, a list, a range or an array of integers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, Integer

Positions = slice | Sequence[int] | Integer[np.ndarray, "_"]


def as_positions(chosen: Positions, images: int) -> Int64[np.ndarray, "_"]:
    """Positions as an array.

    Args:
        chosen: a slice, as of a list; or positions from 0, in any order and with duplicates.
        images: number of images of the split.

    Raises:
        IndexError: a position is negative or not less than ``images``.
        TypeError: they are no integers in one row.

    >>> as_positions(slice(-2, None), 5), as_positions([4, 0, 4], 5)
    (array([3, 4]), array([4, 0, 4]))
    """
    if isinstance(chosen, slice):
        return np.arange(images)[chosen]
    positions = np.asarray(chosen)
    if positions.size == 0:
        return np.zeros(0, np.int64)
    if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
        raise TypeError(
            f"expected positions of images, a slice or a list of integers, found "
            f"{positions.dtype}{list(positions.shape)}; np.flatnonzero makes positions of a mask"
        )
    if positions.min() < 0 or positions.max() >= images:
        raise IndexError(f"indices from {positions.min()} to {positions.max()}: expected 0 to {images - 1}")
    return positions.astype(np.int64, copy=False)
