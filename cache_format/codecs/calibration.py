"""Centre and spread of every channel, which the integer codecs need."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

SPREAD_FLOOR = 1e-2
"""Least spread of a channel, relative to the median channel of its site.

A channel that is constant in the sample may move elsewhere. With a spread near zero it would then
set the token's scale alone, and leave no levels to the other channels.
"""
CONSTANT = 1e-6
"""A channel varies if its spread, relative to its mean, is above this; below are rounding errors."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Per-channel centre and spread of each site, from a fixed sample of the data set."""

    centre: Float32[np.ndarray, "sites width"]
    spread: Float32[np.ndarray, "sites width"]

    @classmethod
    def from_moments(
        cls,
        count: int,
        total: Float64[np.ndarray, "sites width"],
        total_squares: Float64[np.ndarray, "sites width"],
    ) -> "Calibration":
        """Mean and standard deviation (with a floor) from sums over ``count`` tokens.

        Args:
            count: tokens of all images of the sample.
            total: sums of the values of each channel.
            total_squares: sums of their squares.
        """
        mean = total / count
        spread = np.sqrt(np.maximum(total_squares / count - mean**2, 0))
        floor = np.maximum(_spread_floor(mean, spread), np.finfo(np.float32).tiny)
        return cls(mean.astype(np.float32), np.maximum(spread, floor[:, None]).astype(np.float32))

    def select(self, sites: list[int]) -> "Calibration":
        """The calibration of a subset of sites, in the given order."""
        return Calibration(self.centre[sites], self.spread[sites])


def calibrate(activations: Float[np.ndarray, "images sites tokens width"]) -> Calibration:
    """Centre (mean) and spread (standard deviation, with a floor) of every channel of every site."""
    sample = activations.astype(np.float64)
    images, _, tokens, _ = sample.shape
    return Calibration.from_moments(images * tokens, sample.sum(axis=(0, 2)), (sample**2).sum(axis=(0, 2)))


def _spread_floor(
    mean: Float64[np.ndarray, "sites width"], spread: Float64[np.ndarray, "sites width"]
) -> Float64[np.ndarray, " sites"]:
    """A part of the median channel of those that vary; a site that does not vary has one spread."""
    varies = spread > CONSTANT * np.abs(mean)
    floors = [
        SPREAD_FLOOR * np.median(channels[moving]) if moving.any() else channels.max()
        for channels, moving in zip(spread, varies, strict=True)
    ]
    return np.array(floors, np.float64)
