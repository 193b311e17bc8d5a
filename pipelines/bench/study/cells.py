"""The cells of a configuration of a study: on each data set, and the mean of them."""

from collections.abc import Sequence

from losa.pipelines.bench.study.rows import Row
from losa.pipelines.cells import Cell


def cells_of(rows: Sequence[Row], sets: Sequence[str]) -> list[Cell | None]:
    """A cell for each data set, and the mean of them.

    Args:
        rows: the members, or ensembles, of a configuration on all data sets, of each seed.
        sets: names of the data sets.
    """
    cells = [Cell.of_seeds([row.accuracy for row in rows if row.set == name]) for name in sets]
    return [*cells, Cell.mean_of(cells)]


def parameters_of(rows: Sequence[Row]) -> str:
    """Number of parameters beside the head; empty if all failed."""
    found = {row.parameters for row in rows if row.parameters is not None}
    return " to ".join(f"{number:,}" for number in sorted({min(found), max(found)})) if found else ""
