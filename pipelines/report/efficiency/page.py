"""The page of `losa-report efficiency`: accuracy against every cost, and the table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from losa.cache_format.storage.atomic_writes import publish
from losa.pipelines.report.charts.pareto import GIGABYTE, draw_pareto
from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.rows import named
from losa.pipelines.report.html import render
from losa.pipelines.report.report import Chart, Report
from losa.pipelines.report.tables import ReportTable, TableCell
from losa.pipelines.report.writing import REPORT_NAME
from losa.pipelines.text_table import TextTable

_COSTS = (
    "parameters",
    "seconds_per_epoch",
    "seconds",
    "seconds_with_extraction",
    "peak_bytes",
    "cache_bytes",
    "gflops",
    "images_per_s",
    "accuracy",
)
"""Fields by which the columns of costs are sorted."""
_RATIOS = ("faster", "faster_with_extraction", "of_memory", "break_even")
_AXES = {
    "seconds": "training, seconds",
    "seconds_with_extraction": "training with the extraction, seconds",
    "gigabytes": "peak memory of training, GB",
    "parameters": "trained parameters, head included",
    "cache": "bytes of the cache that an epoch reads, GB",
    "gflops": "GFLOPs of an image",
    "milliseconds": "milliseconds of an image",
}


def write_page(
    rows: Sequence[dict[str, Any]], tables: Sequence[TextTable], comparison: EfficiencyComparison
) -> Path:
    """Write ``report.html`` into the folder ``out``. An older file is replaced whole.

    Args:
        rows: those of `efficiency_rows`.
        tables: those of `efficiency_tables`.
        comparison: the options.

    Returns:
        The file.
    """
    costs, *ratios = tables
    report = Report(
        title=f"Efficiency: {comparison.backbone} on {comparison.folder.name}",
        counted=f"{costs.above[0]} {costs.below[0]}",
        winners=winners(rows),
        cautions=[],
        failures=list(costs.below[1:]),
        pareto=_pareto(pareto_points(rows)),
        curves=None,
        confusions=[],
        hardest=[],
        caches=[],
        noise=None,
        configurations=_sortable(costs, rows, _COSTS),
        members=_sortable(ratios[0], [row for row in rows if row["faster"] is not None], _RATIOS)
        if ratios
        else None,
        members_title=" ".join(ratios[0].above) if ratios else "",
    )
    path = Path(comparison.out) / REPORT_NAME
    publish(path, render(report).encode())
    return path


def _pareto(points: Sequence[dict[str, Any]]) -> Chart | None:
    if not points:
        return None
    return Chart(
        title="Accuracy against cost",
        caption="Filled: on the Pareto front (dashed), where nothing cheaper is as accurate. One seed each.",
        spec=draw_pareto(points, _AXES, list(dict.fromkeys(point["kind"] for point in points))),
    )


def pareto_points(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that `draw_pareto` takes: what was measured and scored."""
    return [_point(row) for row in rows if row["accuracy"] is not None and row["note"] is None]


def _point(row: dict[str, Any]) -> dict[str, Any]:
    percent = 100 * row["accuracy"]
    cache = row["cache_bytes"]
    return {
        "view": "test",
        "name": named(row),
        "kind": row["method"],
        "accuracy": round(percent, 4),
        "low": percent,
        "high": percent,
        "shown": f"{percent:.1f}",
        "seconds": row["seconds"],
        "seconds_with_extraction": row["seconds_with_extraction"],
        "gigabytes": None if row["peak_bytes"] is None else row["peak_bytes"] / GIGABYTE,
        "parameters": row["parameters"],
        "cache": None if cache is None else cache / GIGABYTE,
        "gflops": row["gflops"],
        "milliseconds": 1000 / row["images_per_s"],
    }


def winners(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was most accurate, if anything was scored, and which training took the least time and memory."""
    trained = [row for row in rows if row["trained"] in ("cache", "live") and row["note"] is None]
    scored = [row for row in trained if row["accuracy"] is not None]
    sentences = []
    if scored:
        best = max(scored, key=lambda row: row["accuracy"])
        sentences.append(f"Most accurate: {named(best)}, {100 * best['accuracy']:.1f} %.")
    for words, field in (("Fastest training", "seconds"), ("Least memory", "peak_bytes")):
        known = [row for row in trained if row[field] is not None]
        if known:
            sentences.append(f"{words}: {named(min(known, key=lambda row: row[field]))}.")
    return sentences


def _sortable(table: TextTable, rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> ReportTable:
    """A table whose columns of numbers are sorted by the fields of the rows that they show."""
    lines = []
    for line, row in zip(table.lines, rows, strict=True):
        names = [TableCell(text) for text in line[: table.labels]]
        numbers = line[table.labels :]
        lines.append(
            names + [TableCell(text, row[field]) for text, field in zip(numbers, fields, strict=False)]
        )
    return ReportTable(titles=table.titles, rows=lines)
