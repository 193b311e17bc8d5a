"""Trains members for a command, on its engine, and tells its tracker, if it has one."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

from losa.adapt import Job, MemberSummary, adapt_all
from losa.adapt.config import WHEREABOUTS, TrackerName
from losa.adapt.members.summary import Outcome
from losa.cache_format import LosaError
from losa.cache_format.engines import Engine, EngineConfig, make_engine
from losa.pipelines.trackers import make_tracker
from losa.pipelines.trackers.tracked_sweep import TrackedSweep


class _Command:
    """A command, whose trainings have one tracker and one engine between them."""

    def __init__(self, arguments: Sequence[str], opened: ExitStack) -> None:
        self._options = sorted(filter(_can_change_a_result, arguments))
        self._chosen: set[TrackerName | None] = set()
        self._opened = opened
        self._engines: dict[EngineConfig, Engine] = {}
        self.sweep: TrackedSweep | None = None

    def engine_for(self, jobs: Sequence[Job]) -> Engine | None:
        """The engine, entered until the command ends; None without jobs.

        Raises:
            LosaError: the jobs have other engines than each other or than earlier ones, or one that cannot be
                used.
        """
        chosen = self._engines.keys() | {job.config.engine for job in jobs}
        if len(chosen) > 1:
            raise LosaError(
                "engine=...: expected one engine, with the same options, for all jobs of a command, which "
                "train together"
            )
        for config in chosen - self._engines.keys():
            engine = make_engine(config, {job.config.device for job in jobs})
            self._engines[config] = self._opened.enter_context(engine)
        return next(iter(self._engines.values()), None)

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
    """A context for a command, in which `train` uses the engine of its jobs and tells their tracker.

    At its end the engine is left, and the tracker's run ends.

    Args:
        arguments: the command's arguments. The same command again goes on with its run.
    """
    with ExitStack() as opened:
        command = _Command(arguments, opened)
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
        LosaError: the jobs differ in ``tracker`` or ``engine``, a package is missing, the engine cannot be
            used, or there is no command to track.
    """
    command = _command.get()
    if command is None:
        return adapt_all(jobs)
    sweep, engine = command.sweep_for(jobs, folder), command.engine_for(jobs)
    if sweep is None:
        return adapt_all(jobs, engine=engine)
    sweep.expect([job.config.member_name for job in jobs])
    outcomes = adapt_all(jobs, sweep, engine)
    sweep.collect([outcome for outcome in outcomes if isinstance(outcome, MemberSummary)])
    return outcomes


def _can_change_a_result(argument: str) -> bool:
    name = re.split(r"[=.]", argument, maxsplit=1)[0]  # of an option in a group, the group
    return not argument.startswith("-") and name not in WHEREABOUTS
