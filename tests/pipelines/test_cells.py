"""Means and their standard errors."""

from losa.pipelines.cells import MISSING, Cell, text_of


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
