"""Statistics of every site, measured while a shard is written."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from losa.cache_format.common.fields import STRICT

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Sum = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatistics:
    """Sums over the activations of one site; the statistics of several shards can be added."""

    # Bounds are checked when a commit record is read, not when statistics are constructed.
    __pydantic_config__ = STRICT

    count: Annotated[int, Field(ge=0, le=2**63 - 1)]
    """Number of values: images times tokens times width."""
    minimum: _Finite
    """Least activation; 0 if there is no value."""
    maximum: _Finite
    """Greatest activation; 0 if there is no value."""
    sum_squares: _Sum
    """Sum of the squared activations."""
    error_sum_squares: _Sum
    """Sum of the squared differences between decoded codes and activations."""

    @property
    def rms(self) -> float:
        """Root mean square of the activations; 0 if there is no value."""
        return math.sqrt(self.sum_squares / self.count) if self.count else 0.0

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio of the codec in dB; infinite if the codec loses nothing."""
        if not self.error_sum_squares:
            return math.inf
        ratio = self.sum_squares / self.error_sum_squares
        return 10 * math.log10(ratio) if ratio else -math.inf

    def __add__(self, other: "SiteStatistics") -> "SiteStatistics":
        """Statistics of the values of both, of the same site; a shard without a valid image adds nothing."""
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
"""Statistics of a site without any value."""


def total_statistics(parts: Iterable[Sequence[SiteStatistics]], sites: int) -> list[SiteStatistics]:
    """Add up the statistics of several shards or batches, each with one entry per site, in their order."""
    total = [NO_VALUES] * sites
    for part in parts:
        total = [a + b for a, b in zip(total, part, strict=True)]
    return total
