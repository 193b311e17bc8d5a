"""Mean and standard error of accuracies: over seeds, and over data sets."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "-"
"""Shown in the place of a cell that is None."""


@dataclass(frozen=True, slots=True)
class Cell:
    """An accuracy in percent and what it may be off by."""

    mean: float
    error: float | None
    """Standard error of the mean over the seeds; None for a single seed."""

    @classmethod
    def of_seeds(cls, accuracies: Sequence[float | None]) -> "Cell | None":
        """The cell of a configuration; None if a seed failed: a mean over the others would be too good.

        >>> Cell.of_seeds([0.5, 0.5, 0.5])
        Cell(mean=50.0, error=0.0)

        Args:
            accuracies: the accuracy of each seed, a fraction; None for one that failed.
        """
        found = [100 * accuracy for accuracy in accuracies if accuracy is not None]
        if not found or len(found) < len(accuracies):
            return None
        error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else None
        return cls(statistics.fmean(found), error)

    @classmethod
    def mean_of(cls, cells: "Sequence[Cell | None]") -> "Cell | None":
        """The mean over data sets; None if there is none of them, or one is missing.

        >>> Cell.mean_of([Cell(80.0, 3.0), Cell(90.0, 4.0)])
        Cell(mean=85.0, error=2.5)
        """
        found = [cell for cell in cells if cell is not None]
        if not found or len(found) < len(cells):
            return None
        errors = [cell.error for cell in found if cell.error is not None]
        error = math.hypot(*errors) / len(found) if len(errors) == len(found) else None
        return cls(statistics.fmean(cell.mean for cell in found), error)

    def minus(self, other: "Cell") -> "Cell":
        """The difference, with its standard error as that of two independent means.

        >>> Cell(80.0, 3.0).minus(Cell(90.0, 4.0))
        Cell(mean=-10.0, error=5.0)
        """
        known = self.error is not None and other.error is not None
        error = math.hypot(self.error or 0.0, other.error or 0.0) if known else None
        return Cell(self.mean - other.mean, error)

    def is_below(self, other: "Cell") -> bool:
        """Whether it is less than another by more than the standard error of the difference, if it has one.

        >>> Cell(84.0, 3.0).is_below(Cell(90.0, 4.0)), Cell(86.0, 3.0).is_below(Cell(90.0, 4.0))
        (True, False)
        """
        difference = self.minus(other)
        return difference.error is not None and -difference.mean > difference.error

    def __str__(self) -> str:
        """With one decimal: ``97.7 ± 0.2``."""
        return f"{self.mean:.1f}" if self.error is None else f"{self.mean:.1f} ± {self.error:.1f}"


def text_of(cell: Cell | None) -> str:
    """The cell as text."""
    return MISSING if cell is None else str(cell)


def signed_text_of(difference: Cell | None) -> str:
    """A difference as text, with its sign: ``+1.2 ± 0.4``."""
    return f"+{difference}" if difference is not None and difference.mean > 0 else text_of(difference)
