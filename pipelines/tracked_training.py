"""Trains members for a command, and tells its tracker, if it has one."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from losa.adapt import Job, MemberSummary, adapt_all
from losa.adapt.config import WHEREABOUTS, TrackerName
from losa.adapt.members.summary import Outcome
from losa.cache_format import LosaError
from losa.pipelines.trackers import make_tracker
from losa.pipelines.trackers.tracked_sweep import TrackedSweep


class _Command:
    """A command, whose trainings have one tracker between them."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._options = sorted(filter(_can_change_a_result, arguments))
        self._chosen: set[TrackerName | None] = set()
        self.sweep: TrackedSweep | None = None

    def sweep_for(self, jobs: Sequence[Job], folder: Path) -> TrackedSweep | None:
        """The sweep that is tracked, the same one for all jobs; None if they have no tracker.

        Raises:
            LosaError: the jobs have other trackers than each other or than earlier ones, or one whose package
                is missing.
        """
        chosen = self._chosen | {job.config.tracker for job in jobs}
        if len(chosen) > 1:
            named = ", ".join(sorted(f"tracker={name or 'null'}" for name in chosen))
            raise LosaError(f"{named}: expected one tracker for all jobs of a command, which are one run")
        self._chosen = chosen
        name = next(iter(chosen), None)
        if name is not None and self.sweep is None:
            anew = any(job.config.overwrite for job in jobs)
            self.sweep = TrackedSweep(make_tracker(name), name, folder, self._options, anew=anew)
        return self.sweep


_command: ContextVar[_Command | None] = ContextVar("command", default=None)


@contextmanager
def tracking(arguments: Sequence[str]) -> Iterator[None]:
    """A context for a command, in which `train` tells the tracker of its jobs; at its end the run ends.

    Args:
        arguments: the command's arguments. The same command again goes on with its run.
    """
    command = _Command(arguments)
    token = _command.set(command)
    completed = False
    try:
        yield
        completed = True
    finally:
        _command.reset(token)
        if command.sweep is not None:
            command.sweep.finish(completed=completed)


def train(jobs: Sequence[Job], folder: Path) -> list[Outcome]:
    """Train members, as `adapt_all` does, and tell the tracker of the command.

    Args:
        jobs: the members.
        folder: the folder of their sweep.

    Raises:
        LosaError: the jobs differ in ``tracker``, its package is missing, or there is no command to track.
    """
    command = _command.get()
    sweep = None if command is None else command.sweep_for(jobs, folder)
    if sweep is None:
        return adapt_all(jobs)
    sweep.expect([job.config.member_name for job in jobs])
    outcomes = adapt_all(jobs, sweep)
    sweep.collect([outcome for outcome in outcomes if isinstance(outcome, MemberSummary)])
    return outcomes


def _can_change_a_result(argument: str) -> bool:
    name = re.split(r"[=.]", argument, maxsplit=1)[0]  # of an option in a group, the group
    return not argument.startswith("-") and name not in WHEREABOUTS
