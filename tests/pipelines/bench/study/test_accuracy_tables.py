"""The tables of accuracies and choices."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

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
    table, _, choices = accuracy_tables(rows, settings())
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
    table, _ = accuracy_tables([row(0.9, side="linear"), row(0.1)], settings(seeds=1))
    assert [line[-1] for line in table.lines] == ["90.0", "10.0"]
    assert "one seed has no standard error" in table.below[0]


def test_differences_are_those_of_images(row: Any, settings: Any) -> None:
    def looked_at(score: float, correct: Sequence[int], **named: Any) -> Any:
        return replace(row(score, **named), correct=np.asarray(correct, float))

    rows = [
        looked_at(0.5, [1, 1, 0, 0], side="linear"),
        looked_at(0.75, [1, 1, 1, 0], side="losa"),
        row(0.6, side="relay"),
        *[row(0.5, side=side, set="noon") for side in ("linear", "losa", "relay")],
    ]
    _, table = accuracy_tables(rows, settings(seeds=1))
    assert table.titles == ["side network", "protocol", "dusk", "noon", "mean"]
    assert table.lines == [["losa", "fixed", "+25.0 ± 25.0", "-", "-"], ["relay", "fixed", "-", "-", "-"]]


def test_the_linear_probe_alone_has_nothing_to_be_compared_with(row: Any, settings: Any) -> None:
    (table,) = accuracy_tables([row(0.9, side="linear")], settings(seeds=1))
    assert len(table.lines) == 1
