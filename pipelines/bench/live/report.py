"""The results of `losa-bench live` as a table, with side networks beside them."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table

from losa.pipelines.bench.live.comparison import LiveComparison
from losa.pipelines.cells import Cell

MEAN = "mean"


def means_over_sets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method that has results on every data set; none if there is one data set alone.

    Args:
        rows: rows with ``set``, ``method``, ``percent`` and ``seconds``.

    Returns:
        Rows with the same fields, of which ``set`` is `MEAN`.
    """
    sets = {row["set"] for row in rows}
    if len(sets) == 1:
        return []
    found = []
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = [row for row in rows if row["method"] == method]
        cell = Cell.mean_of([Cell(**row["percent"]) for row in of_method])
        if cell is not None and len(of_method) == len(sets):
            seconds = statistics.fmean(row["seconds"] for row in of_method)
            found.append({"set": MEAN, "method": method, "percent": asdict(cell), "seconds": seconds})
    return found


def render_live(
    rows: Sequence[dict[str, Any]], side_rows: Sequence[dict[str, Any]], comparison: LiveComparison
) -> Group:
    """Show the rows of methods and of side networks, set by set, and their means over the sets."""
    first = comparison.methods[0]
    table = Table()
    for title in ("set", "method"):
        table.add_column(title, no_wrap=True)
    for title in ("rank", "parameters", "lr", f"{comparison.test_split}, %", "seconds", f"{first} takes"):
        table.add_column(title, justify="right", no_wrap=True)
    every = [*rows, *side_rows]
    every += means_over_sets(every)
    for name in dict.fromkeys(row["set"] for row in every):
        of_set = [row for row in every if row["set"] == name]
        (reference,) = (row["seconds"] for row in of_set if row["method"] == first)
        for row in of_set:
            table.add_row(
                name if row is of_set[0] else "",
                row["method"],
                _shown(row.get("rank"), "d"),
                _shown(row.get("parameters"), ",d"),
                _shown(row.get("lr"), "g") + "*" * _ends_the_rates(row),
                str(Cell(**row["percent"])),
                f"{row['seconds']:,.1f}",
                f"{reference / row['seconds']:,.1f} times",
                end_section=row is of_set[-1],
            )
    return Group(table, *_notes(rows, side_rows, comparison))


def _notes(
    rows: Sequence[dict[str, Any]], side_rows: Sequence[dict[str, Any]], comparison: LiveComparison
) -> list[str]:
    training = comparison.training
    threads = sorted({final["threads"] for row in rows for final in row["trainings"]})
    notes = [
        f"{comparison.backbone}, live, {training.dtype}: {training.epochs} epochs of "
        f"{comparison.train_split}, batch {training.batch}; mean and standard error, seeds: "
        f"{len(comparison.seeds)}. Parameters include the head. Seconds are those of one training without "
        f"decoding and scoring; threads: {' and '.join(map(str, threads))}."
    ]
    if side_rows:
        notes.append(
            "Seconds of a side network are its share of the pass that trained it, without extraction, with "
            "the threads of that command."
        )
    if len(comparison.lrs) > 1:
        notes.append(f"lr is the best on {comparison.select_split} after {comparison.select_train_split}.")
    if any(map(_ends_the_rates, rows)):
        notes.append("* the lowest or highest --lr that was tried: one beyond it may be better.")
    return notes


def _ends_the_rates(row: dict[str, Any]) -> bool:
    rates = [candidate["lr"] for candidate in row.get("candidates", ())]
    return len(rates) > 1 and row["lr"] in (min(rates), max(rates))


def _shown(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)
