"""Means and their standard errors."""

from typing import Any

from losa.pipelines.bench.study.cells import MISSING, Cell, cells_of, parameters_of, text_of


def test_a_cell_without_all_seeds_is_none() -> None:
    assert Cell.of_seeds([0.5, None]) is None
    assert Cell.of_seeds([]) is None
    assert Cell.mean_of([Cell(50, 1), None]) is None
    assert text_of(None) == MISSING


def test_one_seed_has_no_error_and_is_below_nothing() -> None:
    single = Cell.of_seeds([0.25])
    assert single == Cell(25.0, None)
    assert str(single) == "25.0"
    assert not single.is_below(Cell(90, 1.0))
    assert Cell.mean_of([single, Cell(75, 1.0)]) == Cell(50.0, None)


def test_only_more_than_the_error_is_below() -> None:
    assert not Cell(95, 0.0).is_below(Cell(90, 0.0))
    assert not Cell(85, 3.0).is_below(Cell(90, 4.0))
    assert Cell(84.9, 3.0).is_below(Cell(90, 4.0))


def test_a_cell_for_each_set_and_their_mean(row: Any) -> None:
    rows = [row(0.5), row(1.0, seed=1), row(0.25, set="noon"), row(0.25, set="noon", seed=1)]
    dusk, noon, mean = cells_of(rows, ["dusk", "noon"])
    assert (dusk, noon, mean) == (Cell(75.0, 25.0), Cell(25.0, 0.0), Cell(50.0, 12.5))


def test_parameters_are_those_beside_the_head(row: Any) -> None:
    assert parameters_of([row(0.5), row(None)]) == "1,200"
    assert parameters_of([row(None)]) == ""
