"""The order of images in an epoch: a function of (data seed, epoch), not of earlier epochs."""

import numpy as np
from jaxtyping import Int64


def shuffled_batches(
    images: int, batch_size: int, data_seed: int, epoch: int
) -> list[Int64[np.ndarray, "_"]]:
    """Positions of the images in each batch of an epoch; the last batch may be smaller.

    >>> [len(batch) for batch in shuffled_batches(10, 4, data_seed=0, epoch=3)]
    [4, 4, 2]
    """
    # An array, because numpy converts a list that mixes int64 and uint64 to floats.
    key = np.array([data_seed % 2**64, epoch], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    return _cut(generator.permutation(images), batch_size)


def draw_views(images: int, views: int, data_seed: int, epoch: int) -> Int64[np.ndarray, "images"]:
    """Draw the view of each image that an epoch shows, from 0.

    >>> draw_views(6, 4, data_seed=0, epoch=0).tolist()
    [3, 3, 2, 2, 0, 3]
    """
    # The last number of the counter separates these random numbers from those for order and mixup.
    key = np.array([data_seed % 2**64, epoch], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, 2]))
    return generator.integers(views, size=images)


def ordered_batches(images: int, batch_size: int) -> list[Int64[np.ndarray, "_"]]:
    """Positions in ascending order, cut into batches."""
    return _cut(np.arange(images), batch_size)


def batch_count(images: int, batch_size: int) -> int:
    """Number of batches of an epoch.

    >>> batch_count(10, 4)
    3
    """
    return -(-images // batch_size)


def _cut(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
