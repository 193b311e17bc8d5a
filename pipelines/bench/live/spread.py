"""How far a mean may be off."""

import math
import statistics
from collections.abc import Sequence


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean of independent values; None for a single one.

    >>> round(standard_error([0.5, 0.75, 1.0]), 3)
    0.144
    """
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
