"""Mixup (arXiv 1710.09412) on frozen features: pairs of images share their activations and their labels.

The activations of all sites are mixed in the same proportion, which is not what the backbone would make of
mixed images, but exact in what it says: a side network sees a convex combination of two streams.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True, slots=True)
class Mix:
    """How one batch is mixed."""

    partner: Int64[np.ndarray, "images"]
    """For each image the one it is mixed with."""
    share: float
    """Of the image itself; the partner has the rest."""


def draw_mix(images: int, alpha: float, data_seed: int, step: int) -> Mix | None:
    """A function of (data seed, step), never of history.

    Args:
        images: of the batch.
        alpha: of the Beta distribution that the share is drawn from; 0 for no mixup.
        data_seed: as of the order of images.
        step: from 0, over the whole training.
    """
    if not alpha:
        return None
    # The last number keeps the stream apart from that of the images' order.
    key = np.array([data_seed % 2**64, step], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, 1]))
    return Mix(generator.permutation(images), float(generator.beta(alpha, alpha)))
