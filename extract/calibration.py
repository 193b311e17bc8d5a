"""Calibrates a codec on a fixed, seeded sample of the images, before the first shard is written."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from losa.cache_format import Calibration, LosaError
from losa.extract.non_finite import refuse_non_finite

SAMPLE_IMAGES = 128
SAMPLE_SEED = 0


def sample_keys(keys: Iterable[str]) -> Sequence[str]:
    """Keys of the images to calibrate on, a function of the ordered keys."""
    unique = list(dict.fromkeys(keys))
    chosen = np.random.default_rng(SAMPLE_SEED).permutation(len(unique))[:SAMPLE_IMAGES]
    return [unique[index] for index in sorted(chosen)]


def calibrate_from(
    batches: Iterable[Float[Tensor, "_images sites tokens width"]], sites: Sequence[str]
) -> Calibration:
    """The calibration from batches of activations, whose sums are accumulated in float64.

    Raises:
        NonFiniteActivations: an activation is NaN or infinite; the message names the site.
        LosaError: the batches hold no image.
    """
    count = 0
    moments: Tensor | None = None
    for activations in batches:
        wide = activations.double()
        sums = torch.stack([wide.sum(dim=(0, 2)), wide.square().sum(dim=(0, 2))]).cpu()
        if not torch.isfinite(sums).all():
            for index, site in enumerate(sites):
                refuse_non_finite(site, int((~activations[:, index].isfinite()).sum()))
        moments = sums if moments is None else moments + sums
        count += activations.shape[0] * activations.shape[2]
    if moments is None or not count:
        raise LosaError("none of the images of the calibration sample can be read")
    total, total_squares = moments.numpy()
    return Calibration.from_moments(count, total, total_squares)
