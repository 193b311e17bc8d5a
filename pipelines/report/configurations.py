"""Members that differ only in their seeds, and how configurations of one task compare."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from losa.pipelines.cells import Cell
from losa.pipelines.report.inputs.contract import Member

COSTS = ("parameters", "seconds", "peak_bytes", "rank", "sites")
"""Fields of a `Member` by which accuracy is judged."""


@dataclass(frozen=True)
class Configuration:
    """Members of one task that agree in their kind and in all options that differ within it."""

    task: str
    kind: str
    options: Mapping[str, str]
    """Those options that differ."""
    members: Sequence[Member]

    @property
    def name(self) -> str:
        """Kind and options: ``losa rank=8 lr=0.001``."""
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.options.items())])

    @property
    def is_complete(self) -> bool:
        """Whether no seed failed or was pruned: a mean over only those that did well is too good."""
        return all(member.status == "finished" for member in self.members)

    @property
    def status(self) -> str:
        """``finished``, or how many of the members are not."""
        told = [
            f"{count} of {len(self.members)} {status}"
            for status in ("failed", "pruned")
            if (count := sum(member.status == status for member in self.members))
        ]
        return ", ".join(told) or "finished"

    @property
    def folders(self) -> list[Path]:
        """The folders of its members, of those that were found."""
        return list(dict.fromkeys(member.folder for member in self.members if member.folder is not None))

    def scores(self, split: str) -> list[float]:
        """Accuracy on a split of each seed that was scored on it; equal ones of one seed count once."""
        found = [
            (member.seeds, member.accuracy[split]) for member in self.members if split in member.accuracy
        ]
        return [score for _, score in dict.fromkeys(found)]

    def cell(self, split: str) -> Cell | None:
        """Mean accuracy on a split and its standard error, in percent; None if no member was scored on it."""
        return Cell.of_seeds(self.scores(split))

    def cost(self, name: str) -> float | None:
        """Mean over the members of one of `COSTS`; None if it was not recorded."""
        found = [getattr(member, name) for member in self.members]
        known = [value for value in found if value is not None]
        return statistics.fmean(known) if known else None


@dataclass(frozen=True)
class Task:
    """The configurations of one task, best first. Incomplete ones come last."""

    name: str
    split: str | None
    """The split that decides; None if no member was scored."""
    configurations: Sequence[Configuration]

    @cached_property
    def splits(self) -> list[str]:
        """All splits that were scored, the one that decides first."""
        found = (split for one in self.configurations for member in one.members for split in member.accuracy)
        return list(dict.fromkeys(([] if self.split is None else [self.split]) + list(found)))

    @cached_property
    def ranked(self) -> list[tuple[Configuration, Cell]]:
        """Complete configurations that were scored on the split that decides, with their cells."""
        return [
            (one, cell)
            for one in self.configurations
            if self.split is not None and one.is_complete and (cell := one.cell(self.split)) is not None
        ]

    @property
    def best(self) -> Configuration | None:
        """The configuration with the best mean on the split that decides."""
        return next((one for one, _ in self.ranked), None)

    @property
    def examined(self) -> Configuration | None:
        """The best one whose side networks were found, so that their images can be looked at; else `best`.

        Those of an ensemble, or of a method that trains the backbone, are in no folder of its members.
        """
        return next((one for one, _ in self.ranked if one.folders), self.best)


def tasks_of(members: Sequence[Member]) -> list[Task]:
    """The tasks of some members, in the order in which they appear."""
    named = _differing(members)
    grouped: dict[str, dict[tuple[str, ...], list[Member]]] = {}
    for member in members:
        key = (member.kind, *(member.options.get(name, "") for name in named))
        grouped.setdefault(member.task, {}).setdefault(key, []).append(member)
    return [_task(name, groups.values(), named) for name, groups in grouped.items()]


def over_all(tasks: Sequence[Task]) -> list[tuple[Configuration, Cell]]:
    """The configurations that every task ranks, by the mean of their accuracies over the tasks, best first.

    The configuration is that of the first task.
    """
    first, *others = [{one.name: (one, cell) for one, cell in task.ranked} for task in tasks]
    found = []
    for name, (configuration, cell) in first.items():
        cells = [cell, *(other[name][1] if name in other else None for other in others)]
        mean = Cell.mean_of(cells)
        if mean is not None:
            found.append((configuration, mean))
    return sorted(found, key=lambda pair: -pair[1].mean)


def _differing(members: Sequence[Member]) -> list[str]:
    """Options of which a kind has several values within a task: others belong to the task or to the kind."""
    values: dict[str, dict[tuple[str, str], set[str]]] = {}
    for member in members:
        for name, value in member.options.items():
            values.setdefault(name, {}).setdefault((member.task, member.kind), set()).add(value)
    return [name for name, found in values.items() if max(map(len, found.values())) > 1]


def _task(name: str, groups: Iterable[Sequence[Member]], named: Sequence[str]) -> Task:
    scored = [split for members in groups for member in members for split in member.accuracy]
    split = scored[0] if scored else None
    found = [
        Configuration(
            task=name,
            kind=members[0].kind,
            options={option: value for option in named if (value := members[0].options.get(option))},
            members=members,
        )
        for members in groups
    ]

    def place(one: Configuration) -> tuple[bool, float]:
        cell = None if split is None else one.cell(split)
        return not one.is_complete, 0.0 if cell is None else -cell.mean

    return Task(name, split, sorted(found, key=place))
