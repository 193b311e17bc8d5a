"""Learning curves of all members, from their metrics."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from losa.adapt.members.member_files import METRICS_NAME
from losa.cache_format import LosaError
from losa.pipelines.report.charts.vega import Spec, by_kind, choice, named_data, specification
from losa.pipelines.report.configurations import Configuration, Task

METRICS = {
    "val_accuracy": "accuracy on val_split, %",
    "train_loss": "training loss",
    "train_accuracy": "accuracy while training, %",
}
"""Field of a line of the metrics -> what the menu calls it."""
MOST_POINTS = 60_000
"""Points of a metric in a page: more epochs than that are thinned out."""


def curves_chart(tasks: Sequence[Task], kinds: Sequence[str]) -> Spec | None:
    """The chart; None if no member has numbers of an epoch.

    Args:
        tasks: the tasks.
        kinds: as in `by_kind`.

    Raises:
        LosaError: metrics are damaged.
    """
    found = [row for task in tasks for one in task.configurations for row in _rows(task, one)]
    rows = _thinned([row for row in found if any(row[field] for field in METRICS)])
    if not rows:
        return None
    known = {field: name for field, name in METRICS.items() if any(row[field] for row in rows)}
    colour, _ = by_kind(kinds)
    hovered = alt.selection_point(
        name="hovered", on="pointerover", clear="pointerout", fields=["member"], empty=False
    )
    base = (
        alt.Chart(named_data())
        .transform_filter("datum.task == task")
        .transform_calculate(value="datum[metric]")
        .transform_filter("isArray(datum.value)")
        .transform_flatten(["value", "epoch"])
        .transform_filter("isValid(datum.value)")
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            detail="member:N",
            color=colour,
            tooltip=[alt.Tooltip("name:N", title="configuration"), alt.Tooltip("seed:N")],
        )
    )
    chart = alt.layer(
        base.mark_line(strokeWidth=1.5, clip=True)
        .encode(opacity=alt.condition(hovered, alt.value(1.0), alt.value(0.5)))
        .add_params(hovered),
        base.transform_filter("datum.best").mark_line(strokeWidth=3.5, opacity=1),
    ).add_params(
        choice("task", "of", {row["task"]: row["task"] for row in rows}), choice("metric", "show", known)
    )
    return specification(chart, rows, height=340)


def _rows(task: Task, configuration: Configuration) -> Iterator[dict[str, Any]]:
    for member in configuration.members:
        metrics = [] if member.folder is None else _metrics(member.folder / METRICS_NAME)
        if metrics:
            yield {
                "task": task.name,
                "name": configuration.name,
                "kind": configuration.kind,
                "seed": ", ".join(dict.fromkeys(member.seeds)),
                "best": configuration is task.best,
                "epoch": [line["epoch"] + 1 for line in metrics],
                **{field: _values(metrics, field) for field in METRICS},
            }


def _metrics(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        metrics = [json.loads(line) for line in lines]
        if all(isinstance(line.get("epoch"), int) for line in metrics):
            return metrics
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError, RecursionError):
        pass
    raise LosaError(
        f"{path} is damaged: expected a JSON object with an epoch on every line; losa-adapt with "
        "overwrite=true trains the member again"
    )


def _values(metrics: Sequence[Mapping[str, Any]], field: str) -> list[float | None] | None:
    """A value for each epoch, with four digits, accuracies in percent; None if there is none."""
    unit = 1 if field == "train_loss" else 100
    values = [line.get(field) for line in metrics]
    if all(value is None for value in values):
        return None
    return [None if value is None else float(f"{unit * value:.4g}") for value in values]


def _thinned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a number each, and with fewer epochs if there are too many points: the last one stays."""
    points = sum(len(row["epoch"]) for row in rows)
    step = math.ceil(points / MOST_POINTS)
    thinned = []
    for number, row in enumerate(rows):
        chosen = slice((len(row["epoch"]) - 1) % step, None, step) if step > 1 else slice(None)
        fields = {field: row[field] and row[field][chosen] for field in ("epoch", *METRICS)}
        thinned.append({**row, **fields, "member": number})
    return thinned
