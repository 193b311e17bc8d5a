"""The table at the end of a sweep: its best configurations, in the columns that the terminal has room for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from losa.pipelines.plain_text import visible
from losa.pipelines.result_rows import ResultGroup, scored_splits
from losa.pipelines.shown_options import SEEDS, shown, varying_options

MOST_ROWS = 20
_GAP = 2
"""Spaces between columns, of which the table's box is one."""
_LONG = 24
"""Width above which values are shortened in the middle, as long as they stay different."""
_NARROW = 12
"""Least width of the column that says what went wrong."""


@dataclass(frozen=True)
class _Column:
    title: str
    cells: Sequence[str]
    importance: int
    """Columns of low importance are left out first."""
    left: bool = False
    can_be_cut: bool = False
    """Whether its cells may lose their ends."""

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.cells)))


def print_table(console: Console, groups: Sequence[ResultGroup], chosen_on: str) -> None:
    """Print the best configurations, one line for each, and what the table leaves out.

    Args:
        console: a plain console. On a terminal no line is longer than its width; elsewhere lines are as long
            as they need to be.
        groups: configurations, best first.
        chosen_on: the split by which they are sorted, and why.
    """
    best = groups[:MOST_ROWS]
    columns = _columns(best, groups)
    limited = console.is_terminal or "COLUMNS" in os.environ
    kept = _fitting(columns, console.width) if limited else columns
    console.width = max(console.width, _width(kept))
    members = sum(len(group.rows) for group in groups)
    seeded = members > len(groups)
    counted = f"{members} {'member' if members == 1 else 'members'}"
    if seeded:
        counted += f" in {len(groups)} {'configuration' if len(groups) == 1 else 'configurations'}"
    console.print(f"{counted}, by {'mean ' if seeded else ''}accuracy on {visible(chosen_on)}")
    console.print(_rendered(kept))
    titles = [column.title for column in kept]
    left_out = [column.title for column in columns if column.title not in titles]
    if left_out:
        console.print(f"no room for: {', '.join(left_out)}")
    if len(groups) > len(best):
        rest = groups[len(best) :]
        incomplete = sum(not group.is_complete for group in rest)
        console.print(f"and {len(rest)} more" + (f", {incomplete} of them incomplete" if incomplete else ""))


def _columns(best: Sequence[ResultGroup], groups: Sequence[ResultGroup]) -> list[_Column]:
    """All columns: options, scores, costs, and what went wrong."""
    rows = [row for group in groups for row in group.rows]
    splits = scored_splits(rows)
    varying = [name for name in varying_options([row.options for row in rows]) if name not in SEEDS]
    columns = []
    for name in dict.fromkeys(["side", "rank", "lr", *varying]):
        cells = _shortened([shown(group.options.get(name)) for group in best])
        columns.append(_Column(name, cells, 3 if name in varying else 1, left=name == "side"))
    several = any(len(group.rows) > 1 for group in groups)
    for split in splits:
        importance = 4 if split == splits[0] else 2
        columns.append(_Column(split, [_fraction(group.mean(split)) for group in best], importance))
        if several:
            deviations = [_fraction(group.deviation(split)) for group in best]
            columns.append(_Column(f"{split} sd", deviations, importance))
    if several:
        columns.append(_Column("seeds", [f"{len(group.rows)}" for group in best], 4))
    parameters = [next((row.parameters for row in group.rows if row.parameters), None) for group in best]
    columns.append(_Column("parameters", ["" if count is None else f"{count:,}" for count in parameters], 1))
    seconds = [sum(row.seconds or 0.0 for row in group.rows) for group in best]
    columns.append(_Column("seconds", [f"{each:.1f}" if each else "" for each in seconds], 0))
    if not all(group.is_complete for group in best):
        columns.append(_Column("status", [_status(group) for group in best], 5, left=True, can_be_cut=True))
    return columns


def _fraction(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _status(group: ResultGroup) -> str:
    """How many seeds failed or were pruned, and the reason of the first that failed."""
    told = []
    for status in ("failed", "pruned"):
        count = sum(row.status == status for row in group.rows)
        if count:
            told.append(status if count == len(group.rows) else f"{count} {status}")
    reason = next((row.reason for row in group.rows if row.reason), "")
    return ", ".join(told) + (f": {visible(reason)}" if reason else "")


def _shortened(values: Sequence[str]) -> list[str]:
    """Values on one line, the long ones without their middle, if they stay different."""
    lines = [" ".join(visible(value).split()) for value in values]
    for width in (_LONG, 2 * _LONG):
        short = [_without_middle(line, width) for line in lines]
        if len(set(short)) == len(set(lines)):
            return short
    return lines


def _without_middle(text: str, width: int) -> str:
    # The ends of paths and of split names tell more than their beginnings.
    begin = width // 3
    return text if len(text) <= width else f"{text[:begin]}...{text[begin + 3 - width :]}"


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """The most important columns that fit, in their order; of equally important ones, narrow ones first."""
    kept: list[_Column] = []
    room = width
    for column in sorted(columns, key=lambda column: (-column.importance, column.width)):
        least = min(_NARROW, column.width) if column.can_be_cut else column.width
        needed = least + (_GAP if kept else 0)
        if needed <= room or not kept:
            kept.append(column)
            room -= needed
    return [
        _cut(column, room + _NARROW) if column.can_be_cut else column for column in columns if column in kept
    ]


def _cut(column: _Column, width: int) -> _Column:
    """The column, its cells without their ends if they are wider than this."""
    short = [
        cell if cell_len(cell) <= width else f"{set_cell_size(cell, width - 3)}..." for cell in column.cells
    ]
    return replace(column, cells=short)


def _rendered(columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column in columns:
        table.add_column(column.title, justify="left" if column.left else "right", no_wrap=True)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table
