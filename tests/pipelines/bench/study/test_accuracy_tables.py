"""The tables of accuracies and choices."""

from collections.abc import Sequence
from typing import Any

from losa.pipelines.bench.study.accuracy_tables import accuracy_tables


def seeds(row: Any, scores: Sequence[float | None], **named: Any) -> list[Any]:
    return [row(score, seed=seed, **named) for seed, score in enumerate(scores)]


def test_what_is_below_the_linear_probe_of_its_protocol_is_marked(row: Any, settings: Any) -> None:
    rows = [
        *seeds(row, [0.80, 0.82], side="linear"),
        *seeds(row, [0.78, 0.79], side="losa"),
        *seeds(row, [0.79, 0.81], side="relay"),
        *seeds(row, [0.70, 0.72], side="linear", variant="selected"),
        *seeds(row, [0.78, 0.79], side="losa", variant="selected"),
        *seeds(row, [0.80, None], side="relay", variant="selected"),
    ]
    rows += [row(0.5, side=side, variant="candidate", lr=1e-2) for side in ("linear", "losa", "relay")]
    rows += [row(0.4, side=side, variant="candidate") for side in ("linear", "losa", "relay")]
    table, choices = accuracy_tables(rows, settings())
    assert table.titles == ["side network", "protocol", "parameters", "dusk", "mean"]
    assert table.lines == [
        ["linear", "fixed", "1,200", "81.0 ± 1.0", "81.0 ± 1.0"],
        ["linear", "selected", "1,200", "71.0 ± 1.0", "71.0 ± 1.0"],
        ["losa", "fixed", "1,200", "78.5 ± 0.5 ↓", "78.5 ± 0.5 ↓"],
        ["losa", "selected", "1,200", "78.5 ± 0.5", "78.5 ± 0.5"],
        ["relay", "fixed", "1,200", "80.0 ± 1.0", "80.0 ± 1.0"],
        ["relay", "selected", "1,200", "-", "-"],
    ]
    assert "↓ below the linear probe" in table.below[0]
    assert choices.lines == [["linear", "lr=0.003"], ["losa", "lr=0.003"], ["relay", "lr=0.003"]]


def test_one_seed_marks_nothing(row: Any, settings: Any) -> None:
    (table,) = accuracy_tables([row(0.9, side="linear"), row(0.1)], settings(seeds=1))
    assert [line[-1] for line in table.lines] == ["90.0", "10.0"]
    assert "one seed has no standard error" in table.below[0]
