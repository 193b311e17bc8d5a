"""What is measured of every site while a shard is written."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatistics:
    """Sums over the values of one site; those of several shards add up."""

    count: int
    minimum: float
    maximum: float
    sum_squares: float
    error_sum_squares: float
    """Of the decoded codes against the activations."""

    @property
    def rms(self) -> float:
        """Root mean square of the activations."""
        return math.sqrt(self.sum_squares / self.count) if self.count else 0.0

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio of the codec in dB; infinite where it loses nothing."""
        if not self.error_sum_squares:
            return math.inf
        if not self.sum_squares:
            return -math.inf
        return 10 * math.log10(self.sum_squares / self.error_sum_squares)

    def __add__(self, other: "SiteStatistics") -> "SiteStatistics":
        """Statistics of the values of both; a shard without a readable image adds nothing."""
        if not (self.count and other.count):
            return self if self.count else other
        return SiteStatistics(
            count=self.count + other.count,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            sum_squares=self.sum_squares + other.sum_squares,
            error_sum_squares=self.error_sum_squares + other.error_sum_squares,
        )


NO_VALUES = SiteStatistics(count=0, minimum=0.0, maximum=0.0, sum_squares=0.0, error_sum_squares=0.0)
"""Of a site of which nothing was measured."""
