"""Accuracy against what it costs: configurations, and the Pareto front on an axis that the reader chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from losa.pipelines.cells import Cell
from losa.pipelines.report.charts.vega import Rows, Spec, by_kind, choice, named_data, specification
from losa.pipelines.report.configurations import COSTS, Configuration, Task, over_all

AXES = {
    "parameters": "trained parameters, head included",
    "seconds": "seconds of a training (its share of the pass)",
    "gigabytes": "memory of the pass, GB",
    "rank": "rank",
    "sites": "sites that are read",
}
"""Field of a row -> what the menu calls it."""
_SHORT = "format(datum.value, datum.value < 1000 ? '~g' : '~s')"
"""Labels such as 0.5, 20 and 30k."""
GIGABYTE = 1e9
"""Bytes of the unit on the axes of memory."""


def pareto_chart(tasks: Sequence[Task], kinds: Sequence[str]) -> Spec | None:
    """The chart; None if nothing was scored, or no cost was recorded.

    Args:
        tasks: the tasks.
        kinds: as in `by_kind`.
    """
    rows = [row for row in pareto_rows(tasks) if any(row[axis] for axis in AXES)]
    return draw_pareto(rows, AXES, kinds) if rows else None


def draw_pareto(rows: Rows, axes: Mapping[str, str], kinds: Sequence[str]) -> Spec:
    """Accuracy against the cost that a menu names.

    A point is on the front if no cheaper one is as accurate, and none of the same cost is more accurate.

    Args:
        rows: ``view`` (a menu chooses one), ``name``, ``kind``, ``accuracy``, ``low`` and ``high`` in
            percent, ``shown`` (the accuracy as text), and the fields of the axes: numbers above 0, or None.
        axes: field -> how it is called, those that some row has.
        kinds: as in `by_kind`.
    """
    views = {row["view"]: row["view"] for row in rows}
    known = {field: name for field, name in axes.items() if any(row[field] for row in rows)}
    colour, shape = by_kind(kinds)
    base = (
        alt.Chart(named_data())
        .transform_calculate(cost="datum[axis]")
        .transform_filter("datum.view == view && isValid(datum.cost) && datum.cost > 0")
        .encode(
            x=alt.X(
                "cost:Q",
                title=None,
                scale=alt.Scale(type="log", nice=False, padding=24),
                axis=alt.Axis(labelExpr=_SHORT, labelSeparation=8, tickCount=8),
            ),
            y=alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False, padding=12)),
        )
    )
    cheapest_first: list[alt.SortField | dict[str, str]] = [
        alt.SortField("cost"),
        alt.SortField("accuracy", order="descending"),
    ]
    front = (
        base.transform_window(best="max(accuracy)", frame=[None, 0], sort=cheapest_first)
        .transform_filter("datum.accuracy == datum.best")
        .transform_window(before="lag(accuracy)", sort=cheapest_first)
        .transform_filter("!isValid(datum.before) || datum.accuracy > datum.before")
    )
    told = [alt.Tooltip("name:N", title="configuration"), alt.Tooltip("shown:N", title="accuracy, %")]
    told += [alt.Tooltip(f"{_text_of(field)}:N", title=name) for field, name in known.items()]
    chart = alt.layer(
        front.mark_line(interpolate="step-after", color="#949494", strokeDash=[5, 4]),
        base.mark_rule(opacity=0.6).encode(y="low:Q", y2="high:Q", color=colour),
        base.mark_point(size=70, filled=False, opacity=0.8, strokeWidth=2).encode(
            color=colour, shape=shape, tooltip=told
        ),
        front.mark_point(size=130, filled=True, opacity=1).encode(color=colour, shape=shape, tooltip=told),
    ).add_params(choice("view", "of", views), choice("axis", "against", known))
    texts = [{_text_of(field): _text(row[field]) for field in known} for row in rows]
    return specification(chart, [{**row, **text} for row, text in zip(rows, texts, strict=True)], height=380)


def pareto_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The rows of `draw_pareto`: each task on each of its splits, and the mean over the tasks."""
    rows = [
        _row(f"{task.name}, {split}", configuration, cell)
        for task in tasks
        for split in task.splits
        for configuration in task.configurations
        if configuration.is_complete and (cell := configuration.cell(split)) is not None
    ]
    if len(tasks) > 1:
        mean = f"mean of the {len(tasks)} tasks (costs: {tasks[0].name})"
        rows += [_row(mean, configuration, cell) for configuration, cell in over_all(tasks)]
    return rows


def _text_of(field: str) -> str:
    """The field that holds a number as text."""
    return f"{field}_text"


def _text(number: float | None) -> str:
    return "not recorded" if number is None else f"{number:,.10g}"


def _row(view: str, configuration: Configuration, cell: Cell) -> dict[str, Any]:
    error = cell.error or 0.0
    costs = {name: configuration.cost(name) for name in COSTS}
    peak, seconds = costs.pop("peak_bytes"), costs["seconds"]
    return {
        "view": view,
        "name": configuration.name,
        "kind": configuration.kind,
        "accuracy": round(cell.mean, 4),
        "low": round(cell.mean - error, 4),
        "high": round(cell.mean + error, 4),
        "shown": str(cell),
        **costs,
        "seconds": None if seconds is None else round(seconds, 3),
        "gigabytes": None if peak is None else round(peak / GIGABYTE, 3),
    }
