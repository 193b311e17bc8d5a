import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from losa.pipelines.result_rows import ResultRow, ranked
from losa.pipelines.results_table import print_table

NAME = "photos [/new] \x1b[2J"


def row(accuracy: float | None = 0.5, reason: str = "", **options: Any) -> ResultRow:
    return ResultRow(
        options={"side": "losa", "rank": 8, "lr": 0.003, "seed": 0} | options,
        status="failed" if accuracy is None else "finished",
        reason=reason,
        accuracy={} if accuracy is None else {"test": accuracy},
        parameters=None if accuracy is None else 1234,
        seconds=None if accuracy is None else 1.25,
    )


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The width of a terminal is not asked for by the environment."""
    monkeypatch.delenv("COLUMNS", raising=False)


def printed(rows: list[ResultRow], width: int | None = None) -> list[str]:
    """Lines of the table; the width is that of a terminal, or None for a file."""
    text = io.StringIO()
    console = Console(
        file=text, width=width, force_terminal=width is not None, color_system=None, markup=False, emoji=False
    )
    print_table(console, ranked(rows), "test")
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_line_for_each_configuration_best_first() -> None:
    lines = printed([row(0.5), row(0.75, rank=16, norm="none"), row(0.6, rank=16, norm="layer")])
    assert lines[0] == "3 members, by accuracy on test"
    assert lines[1].split() == ["side", "rank", "lr", "norm", "test", "parameters", "seconds"]
    assert [line.split()[:5] for line in lines[3:5]] == [
        ["losa", "16", "0.003", "none", "0.7500"],
        ["losa", "16", "0.003", "layer", "0.6000"],
    ]
    assert len(lines) == 6


def test_seeds_share_a_line_with_mean_and_standard_deviation() -> None:
    lines = printed([row(0.5, seed=0), row(0.7, seed=1), row(0.9, rank=2)])
    assert lines[0] == "3 members in 2 configurations, by mean accuracy on test"
    assert lines[1].split()[3:7] == ["test", "test", "sd", "seeds"]
    assert lines[3].split()[3:5] == ["0.9000", "1"]
    assert lines[4].split()[3:6] == ["0.6000", "0.1414", "2"]


def many(count: int) -> list[ResultRow]:
    return [
        row(
            number / 2000,
            cache=f"/data/photographs/of/{number % 2}/{NAME}/cache",
            **{f"option_{letter}": number % 3 for letter in "abcdefgh"},
            lr=number,
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 72, 1000])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_the_table_is_wider_than_the_terminal(count: int, width: int) -> None:
    lines = printed([*many(count), row(None, "x" * 200)], width)
    assert max(map(cell_len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert len(lines) <= 28


def test_what_has_no_room_is_named() -> None:
    lines = " ".join(printed(many(72), 80))
    assert "no room for: " in lines
    assert "seconds" in lines
    assert "and 52 more" in lines


@pytest.mark.parametrize("columns", [None, "80"])
def test_a_pipe_has_every_column_unless_its_width_is_known(
    columns: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    lines = printed(many(3))
    assert ("no room" in " ".join(lines)) == (columns is not None)
    assert not any("…" in line for line in lines)


def test_long_values_stay_different() -> None:
    rows = [row(0.5, cache="a" * 30 + letter + "b" * 30) for letter in "xy"]
    lines = printed(rows)
    assert "a" * 30 + "x" in lines[3]
    rows = [row(0.5, cache="a" * 60 + letter) for letter in "xy"]
    assert "aaaaaaaa...aaaaaaaaaaaax" in printed(rows)[3]


def test_text_from_data_is_never_markup() -> None:
    lines = printed([row(0.5, label=NAME), row(0.4, label="b")])
    assert "photos [/new] \\x1b[2J" in lines[3]


def test_failures_say_why() -> None:
    rows = [row(0.9), row(None, "the loss became NaN", seed=1), row(None, "rank=0", rank=0), row(0.5, lr=1)]
    lines = printed(rows)
    assert "1 failed: the loss became NaN" in lines[4]
    assert "failed: rank=0" in lines[5]
    assert "and" not in lines[-1]
