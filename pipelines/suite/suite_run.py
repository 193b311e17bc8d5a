"""A run of a suite: the plan, then task after task, and the results after each of them."""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from losa.cache_format import LosaError
from losa.cache_format.common.units import duration
from losa.pipelines.idle_overrides import tell_idle_overrides
from losa.pipelines.messages import for_people
from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.config import SuiteConfig
from losa.pipelines.suite.found_tasks import FoundTask, find_tasks
from losa.pipelines.suite.opened_tasks import OpenedTask, open_task
from losa.pipelines.suite.plan import plan_suite
from losa.pipelines.suite.published import PublishedResults
from losa.pipelines.suite.results import TABLE_NAME, SuiteResults
from losa.pipelines.suite.scores import TaskResult
from losa.pipelines.suite.swept_options import GROUP
from losa.pipelines.suite.task_run import TaskRun
from losa.pipelines.suite.tasks import Suite

_log = logging.getLogger(__name__)
T = TypeVar("T")


class SuiteRun:
    """The tasks of a suite that are in a folder. An error of one of them does not stop the others."""

    def __init__(self, suite: Suite, config: SuiteConfig, typed: Sequence[str] = ()) -> None:
        """Look for the tasks; nothing is written yet.

        Args:
            suite: the suite.
            config: its options.
            typed: the options as they were typed, of which those without an effect are told.

        Raises:
            LosaError: an option is wrong, or there is no task.
        """
        self._suite = suite
        self._config = config
        self._candidates = Candidates(config)
        tell_idle_overrides([option.removeprefix(f"{GROUP}.") for option in typed], self._candidates.idle)
        self._found = find_tasks(suite, config.root, config.tasks)
        self._results = {
            found.name: TaskResult(task=found.name, group=found.group) for found in self._found.tasks
        }
        self._console = PlainConsole()

    def run(self) -> None:
        """Print the plan, run the tasks, and write and print the results.

        Raises:
            LosaError: the backbone cannot be used, the caches do not fit, or tasks failed, which are named.
        """
        opened = [task for task in map(self._open, self._found.tasks) if task is not None]
        self._plan(opened)
        if not self._config.plan:
            self._run_all(opened)
        self._refuse_failures()

    def _open(self, found: FoundTask) -> OpenedTask | None:
        return self._guarded(found.name, lambda: open_task(found, self._suite))

    def _plan(self, opened: Sequence[OpenedTask]) -> None:
        plan = plan_suite(self._config, self._candidates, opened)
        failed = {name: result.failures[0] for name, result in self._results.items() if result.failures}
        noted: dict[str, list[str]] = {}
        for task in opened:
            for note in task.notes(self._suite):
                noted.setdefault(note, []).append(task.name)
        notes = [f"{note}: {', '.join(names)}" for note, names in noted.items()]
        if self._found.others:
            notes.append(
                f"other folders with lists, which tasks=[...] takes: {', '.join(self._found.others)}"
            )
        self._console.print(plan.table(self._suite, self._found.missing, failed, notes).rich())
        if not self._config.plan:
            plan.refuse_if_too_large()

    def _run_all(self, opened: Sequence[OpenedTask]) -> None:
        start = time.monotonic()
        for number, task in enumerate(opened, start=1):
            _log.info("%s: task %d of %d", task.name, number, len(opened))
            run = TaskRun(self._config, self._candidates, task)
            self._guarded(task.name, functools.partial(run.run, self._results[task.name]))
            waiting = opened[number:]
            self._results_without(waiting).write()
            if waiting:
                left = (time.monotonic() - start) / number * len(waiting)
                _log.info("tasks left: %d, about %s at this pace", len(waiting), duration(left))
        if opened:
            for table in self._results_without([]).tables():
                self._console.print(table.rich())
            _log.info("%s has these tables", self._config.folder / TABLE_NAME)

    def _guarded(self, name: str, step: Callable[[], T]) -> T | None:
        """What a step of a task returns; None if it failed, which is noted."""
        try:
            return step()
        except (LosaError, OSError) as error:
            message = for_people(error)
            if message is None:
                raise
            _log.error("%s: %s", name, message)
            self._results[name].failures.append(message)
            return None

    def _results_without(self, waiting: Sequence[OpenedTask]) -> SuiteResults:
        names = [task.name for task in waiting]
        return SuiteResults(
            suite=self._suite,
            config=self._config,
            candidates=self._candidates,
            missing=self._found.missing,
            waiting=names,
            results=[result for name, result in self._results.items() if name not in names],
            published=PublishedResults.of(self._suite.name),
        )

    def _refuse_failures(self) -> None:
        failed = {name: result.failures for name, result in self._results.items() if result.failures}
        if failed:
            told = [f"{name}: {failure}" for name, failures in failed.items() for failure in failures]
            raise LosaError(
                "\n  ".join(
                    [f"{len(failed)} of {len(self._results)} tasks failed, or a part of them:", *told]
                )
            )
