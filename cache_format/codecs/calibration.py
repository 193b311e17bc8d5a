"""Calibration of the integer codecs: centre and spread of every channel."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

SPREAD_FLOOR = 1e-2
"""Least spread of a channel, relative to the median channel of its site.

A channel that is constant in the sample may vary in other images. With a spread near zero it would then
determine the scale of the whole token and leave almost no levels to the other channels.
"""
CONSTANT = 1e-6
"""Spread relative to the mean above which a channel varies; below it there are only rounding errors."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Centre and spread of every channel of each site, from a fixed sample of the data set."""

    centre: Float32[np.ndarray, "sites width"]
    """Mean of each channel."""
    spread: Float32[np.ndarray, "sites width"]
    """Standard deviation of each channel, but at least a floor above 0: 1 % of the median over those channels
    of its site that vary."""

    @classmethod
    def from_moments(
        cls,
        count: int,
        total: Float64[np.ndarray, "sites width"],
        total_squares: Float64[np.ndarray, "sites width"],
    ) -> "Calibration":
        """Calibrate from sums over the tokens of a sample.

        Args:
            count: number of tokens of all images of the sample, at least 1.
            total: sum of the values of each channel.
            total_squares: sum of the squares of the values of each channel.
        """
        mean = total / count
        spread = np.sqrt(np.maximum(total_squares / count - mean**2, 0))
        floor = np.maximum(_spread_floor(mean, spread), np.finfo(np.float32).tiny)
        return cls(mean.astype(np.float32), np.maximum(spread, floor[:, None]).astype(np.float32))

    def select(self, sites: list[int]) -> "Calibration":
        """The calibration of a subset of sites, in the given order.

        Args:
            sites: positions on the sites axis.

        Raises:
            IndexError: a position is out of range.
        """
        return Calibration(self.centre[sites], self.spread[sites])


def calibrate(activations: Float[np.ndarray, "images sites tokens width"]) -> Calibration:
    """Calibrate on a sample of activations.

    Args:
        activations: finite activations of at least one image, in any floating dtype. The sums are computed in
            float64, to which the whole sample is copied.

    Returns:
        Mean and standard deviation of each channel over images and tokens, ``(sites, width)``.
    """
    sample = activations.astype(np.float64)
    images, _, tokens, _ = sample.shape
    return Calibration.from_moments(images * tokens, sample.sum(axis=(0, 2)), (sample**2).sum(axis=(0, 2)))


def _spread_floor(
    mean: Float64[np.ndarray, "sites width"], spread: Float64[np.ndarray, "sites width"]
) -> Float64[np.ndarray, " sites"]:
    """Floor of each site: a fraction of the median spread of its varying channels.

    If no channel varies, all channels get the largest spread of the site.
    """
    varies = spread > CONSTANT * np.abs(mean)
    floors = [
        SPREAD_FLOOR * np.median(channels[moving]) if moving.any() else channels.max()
        for channels, moving in zip(spread, varies, strict=True)
    ]
    return np.array(floors, np.float64)
