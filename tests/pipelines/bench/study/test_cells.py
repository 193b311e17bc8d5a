"""The cells of a configuration on several data sets."""

from typing import Any

from losa.pipelines.bench.study.cells import cells_of, parameters_of
from losa.pipelines.cells import Cell


def test_a_cell_for_each_set_and_their_mean(row: Any) -> None:
    rows = [row(0.5), row(1.0, seed=1), row(0.25, set="noon"), row(0.25, set="noon", seed=1)]
    dusk, noon, mean = cells_of(rows, ["dusk", "noon"])
    assert (dusk, noon, mean) == (Cell(75.0, 25.0), Cell(25.0, 0.0), Cell(50.0, 12.5))


def test_parameters_are_those_beside_the_head(row: Any) -> None:
    assert parameters_of([row(0.5), row(None)]) == "1,200"
    assert parameters_of([row(None)]) == ""
