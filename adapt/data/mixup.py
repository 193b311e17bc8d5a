"""Mixup (arXiv 1710.09412) on frozen features: activations and labels of pairs of images are mixed.

All sites are mixed in the same proportion. The backbone would compute other activations for mixed images;
here a side network sees the convex combination of two streams.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True, slots=True)
class Mix:
    """The pairs of one batch, and their proportion."""

    partner: Int64[np.ndarray, "images"]
    """Place in the batch of the image that each image is mixed with."""
    share: float
    """Weight of the image itself; the partner has the rest."""


def draw_mix(images: int, alpha: float, data_seed: int, step: int) -> Mix | None:
    """Draw the mix of a batch, as a function of (data seed, step); None without mixup.

    Args:
        images: number of images of the batch.
        alpha: parameter of the Beta distribution that the share is drawn from; 0 for no mixup.
        data_seed: seed, shared with the order of images.
        step: number of the step in the whole training, from 0.
    """
    if not alpha:
        return None
    # The last number of the counter separates these random numbers from those for the order of images.
    key = np.array([data_seed % 2**64, step], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, 1]))
    return Mix(generator.permutation(images), float(generator.beta(alpha, alpha)))
