"""The tables of a page: configurations, and members."""

from collections.abc import Sequence
from dataclasses import dataclass

from losa.cache_format.common.units import readable
from losa.pipelines.report.configurations import Configuration, Task
from losa.pipelines.report.inputs.contract import Member


@dataclass(frozen=True, slots=True)
class TableCell:
    """A text, and the number by which it is sorted; None sorts texts by themselves."""

    text: str
    order: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTable:
    """Rows of cells below titles."""

    titles: Sequence[str]
    rows: Sequence[Sequence[TableCell]]


def configuration_table(tasks: Sequence[Task]) -> ReportTable:
    """A row for each configuration, best first in each task."""
    shared = _Shared(tasks)
    titles = ["place", *shared.titles, *(f"{split}, %" for split in shared.splits), "seeds"]
    rows = []
    for task in tasks:
        for place, one in enumerate(task.configurations, start=1):
            cells = [one.cell(split) for split in shared.splits]
            scored = [
                TableCell("", None) if cell is None else TableCell(str(cell), cell.mean) for cell in cells
            ]
            seeds = len({member.seeds for member in one.members})
            costs = [one.cost(name) for name in ("parameters", "seconds", "peak_bytes")]
            row = [_number(place), *shared.told(task, one), *scored, _number(seeds), *_costs(*costs)]
            rows.append([*row, TableCell(one.status)])
    return _without_empty_columns([*titles, *_COSTS, "status"], rows)


def member_table(tasks: Sequence[Task]) -> ReportTable:
    """A row for each member, in the order of the configurations."""
    shared = _Shared(tasks)
    titles = [*shared.titles, "seed", *(f"{split}, %" for split in shared.splits)]
    rows = [
        [
            *shared.told(task, one),
            TableCell(", ".join(dict.fromkeys(member.seeds))),
            *(_percent(member, split) for split in shared.splits),
            *_costs(member.parameters, member.seconds, member.peak_bytes),
            TableCell(member.status),
            TableCell(member.reason),
            TableCell("" if member.folder is None else member.folder.name),
        ]
        for task in tasks
        for one in task.configurations
        for member in one.members
    ]
    return _without_empty_columns([*titles, *_COSTS, "status", "reason", "folder"], rows)


class _Shared:
    """The columns that both tables begin with."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        configurations = [one for task in tasks for one in task.configurations]
        self.splits = list(dict.fromkeys(split for task in tasks for split in task.splits))
        self._options = list(dict.fromkeys(name for one in configurations for name in one.options))
        self._several = len(tasks) > 1
        self.titles = [*(["task"] if self._several else []), "kind", *self._options]

    def told(self, task: Task, configuration: Configuration) -> list[TableCell]:
        values = (configuration.options.get(name, "") for name in self._options)
        first = [TableCell(task.name)] if self._several else []
        return [
            *first,
            TableCell(configuration.kind),
            *(TableCell(text, _as_number(text)) for text in values),
        ]


_COSTS = ("parameters", "seconds", "memory of the pass")


def _costs(parameters: float | None, seconds: float | None, peak_bytes: float | None) -> list[TableCell]:
    return [
        TableCell("") if parameters is None else TableCell(f"{parameters:,.0f}", parameters),
        TableCell("") if seconds is None else TableCell(f"{seconds:,.1f}", seconds),
        TableCell("") if peak_bytes is None else TableCell(readable(round(peak_bytes)), peak_bytes),
    ]


def _percent(member: Member, split: str) -> TableCell:
    accuracy = member.accuracy.get(split)
    return TableCell("") if accuracy is None else TableCell(f"{100 * accuracy:.2f}", accuracy)


def _number(number: int) -> TableCell:
    return TableCell(str(number), number)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _without_empty_columns(titles: Sequence[str], rows: Sequence[Sequence[TableCell]]) -> ReportTable:
    kept = [place for place in range(len(titles)) if any(row[place].text for row in rows)]
    return ReportTable(
        titles=[titles[place] for place in kept], rows=[[row[place] for place in kept] for row in rows]
    )
