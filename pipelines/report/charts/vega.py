"""What all charts have in common: colours, shapes, menus, and data apart from the specification."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Rows = Sequence[Mapping[str, Any]]
Spec = dict[str, Any]
"""A specification of Vega-Lite, as JSON values."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#949494")
"""Those of Okabe and Ito, which the colour-blind tell apart, as far as they show on white and on black; and
grey."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""As many as go with the colours in all combinations: no two of 42 kinds look the same."""
_LOOKS = {
    "background": None,  # the page's own, dark or light
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.4},
    "axisY": {"minExtent": 36},  # room for the labels of every choice, or they push the title out
    "legend": {"labelFontSize": 13, "titleFontSize": 12, "titleFontWeight": "normal"},
}
DATA = "data"
"""Name of the data of a chart."""


def by_kind(kinds: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """The colour and the shape of each kind, with one legend.

    Args:
        kinds: all kinds of the page, so that each looks the same in all charts.
    """
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(kinds))]
    shapes = [SHAPES[number % len(SHAPES)] for number in range(len(kinds))]
    legend = alt.Legend(orient="top", title=None, columns=4, symbolOpacity=1, symbolStrokeWidth=2)
    return (
        alt.Color("kind:N", scale=alt.Scale(domain=list(kinds), range=colours), legend=legend),
        alt.Shape("kind:N", scale=alt.Scale(domain=list(kinds), range=shapes), legend=legend),
    )


def choice(name: str, label: str, options: Mapping[str, str]) -> alt.Parameter:
    """A menu below a chart, if there is something to choose from.

    Args:
        name: of the parameter.
        label: in front of the menu.
        options: value -> how it is called.
    """
    values, labels = list(options), list(options.values())
    menu = alt.binding_select(options=values, labels=labels, name=f"{label} ")
    return alt.param(name=name, value=values[0], bind=menu if len(values) > 1 else alt.Undefined)


def specification(chart: alt.Chart | alt.LayerChart | alt.FacetChart, rows: Rows, height: int) -> Spec:
    """A chart as wide as its place, with its data.

    Args:
        chart: made on `named_data`.
        rows: the data. They are not validated, which takes minutes for many.
        height: of the chart, in pixels.
    """
    spec: Spec = chart.properties(width="container", height=height).to_dict()
    return {**spec, "config": {**spec.get("config", {}), **_LOOKS}, "datasets": {DATA: list(rows)}}


def named_data() -> alt.NamedData:
    """Data that `specification` adds."""
    return alt.NamedData(DATA)
