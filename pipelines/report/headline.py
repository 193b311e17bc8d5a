"""What a page says first, in sentences: what won, by how much, and what failed."""

from collections import Counter
from collections.abc import Iterator, Sequence

from losa.cache_format.common.units import counted
from losa.pipelines.cells import Cell
from losa.pipelines.report.configurations import Configuration, Task, over_all
from losa.pipelines.report.inputs.contract import Member

LINEAR = "linear"
_MOST_REASONS = 20


def winners(tasks: Sequence[Task]) -> list[str]:
    """A sentence or two for each task, and for the mean over all of them if there are several."""
    told = [
        f"{task.name}, {task.split}: {_compared(task.ranked)}"
        if task.ranked
        else f"{task.name}: no configuration is complete and scored, so there is nothing to compare."
        for task in tasks
    ]
    if len(tasks) > 1:
        ranked = over_all(tasks)
        where = f"Mean of the {len(tasks)} tasks"
        told.insert(
            0,
            f"{where}: {_compared(ranked)}" if ranked else f"{where}: no configuration is complete in all.",
        )
    return told


def _compared(ranked: Sequence[tuple[Configuration, Cell]]) -> str:
    (best, cell), *others = ranked
    told = f"{best.name} reaches {_percent(cell)} ({_seeds(best)})"
    if not others:
        return f"{told}; there is nothing to compare it with."
    told += f", {_ahead(cell, *others[0])}."
    linear = next((pair for pair in others if pair[0].kind == LINEAR), None)
    if linear is not None and linear != others[0]:
        told += f" The best linear probe reaches {_percent(linear[1])}."
    return told


def _ahead(cell: Cell, other: Configuration, others_cell: Cell) -> str:
    difference = cell.minus(others_cell)
    beside = f"{difference.mean:.1f} points ahead of {other.name} ({_percent(others_cell)})"
    if difference.error is None:
        return f"{beside}; with one seed, nobody knows what chance does"
    judged = "more" if others_cell.is_below(cell) else "not more"
    return f"{beside}, which is {judged} than the standard error of the difference ({difference.error:.1f})"


def _percent(cell: Cell) -> str:
    return f"{cell} %"


def _seeds(configuration: Configuration) -> str:
    count = len({member.seeds for member in configuration.members})
    return "1 seed" if count == 1 else f"mean ± standard error of {count} seeds"


def failures(members: Sequence[Member]) -> list[str]:
    """A line for each reason for which members failed, the most frequent first, and one for pruned ones."""
    reasons = Counter(member.reason or "no reason was recorded" for member in members if _failed(member))
    lines = [f"{_members(count)}: {reason}" for reason, count in reasons.most_common(_MOST_REASONS)]
    if len(reasons) > _MOST_REASONS:
        rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(_MOST_REASONS))
        lines.append(f"{_members(rest)}, for {len(reasons) - _MOST_REASONS} other reasons: see the table")
    pruned = sum(member.status == "pruned" for member in members)
    if pruned:
        lines.append(f"{_members(pruned)} dropped by successive halving (halve_at)")
    return lines


def cautions(tasks: Sequence[Task]) -> Iterator[str]:
    """What a reader must know before quoting a number."""
    for task in tasks:
        chosen_on = {
            member.options.get(option)
            for one in task.configurations
            for member in one.members
            for option in ("val_split", "select_split")
        }
        if len(task.ranked) > 1 and task.split not in chosen_on and any(chosen_on - {None}):
            yield (
                f"{task.name}: whoever takes the best of {len(task.ranked)} configurations chooses on "
                f"{task.split}, and its accuracy there is too good to be reported. protocol=select of "
                "losa-adapt chooses on another split."
            )


def _failed(member: Member) -> bool:
    return member.status == "failed"


def _members(count: int) -> str:
    return counted(count, "member", "members")
