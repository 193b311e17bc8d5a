"""A confusion matrix of few classes."""

from collections import Counter

import altair as alt

from losa.pipelines.report.charts.vega import Spec, named_data, specification
from losa.pipelines.report.confusions import ClassConfusion

MOST_CLASSES = 40
"""A matrix of more classes cannot be read."""


def confusion_chart(confusion: ClassConfusion) -> Spec | None:
    """The share of each true class that is taken for each class; None for more than `MOST_CLASSES`."""
    classes = confusion.classes
    if len(classes) > MOST_CLASSES:
        return None
    images = confusion.of_class()
    named = _distinct(confusion)
    rows = [
        {
            "true": named[true],
            "predicted": named[predicted],
            "images": count,
            "share": round(count / images[true], 4),
        }
        for (true, predicted), count in confusion.counts.items()
    ]
    order = [named[number] for number in classes]
    chart = (
        alt.Chart(named_data())
        .mark_rect()
        .encode(
            x=alt.X("predicted:N", sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(labelAngle=-60)),
            y=alt.Y("true:N", sort=order, scale=alt.Scale(domain=order)),
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(scheme="viridis", domain=[0, 1]),
                legend=alt.Legend(title="share of the true class", orient="top", format=".0%"),
            ),
            tooltip=[
                "true:N",
                "predicted:N",
                "images:Q",
                alt.Tooltip("share:Q", title="share of the true class", format=".1%"),
            ],
        )
    )
    return specification(chart, rows, height=max(220, 22 * len(classes) + 60))


def _distinct(confusion: ClassConfusion) -> dict[int, str]:
    """A text for each class; those of one name are told apart by their numbers."""
    names = {number: confusion.name(number) for number in confusion.classes}
    often = Counter(names.values())
    return {number: name if often[name] == 1 else f"{name} ({number})" for number, name in names.items()}
