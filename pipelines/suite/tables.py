"""The tables of a suite: its tasks, the means, and what was chosen."""

from collections.abc import Iterator, Sequence

from losa.pipelines.cells import MISSING, Cell, text_of
from losa.pipelines.shown_options import shown
from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.published import PublishedResult, PublishedResults
from losa.pipelines.suite.scores import TaskResult
from losa.pipelines.suite.tasks import Suite
from losa.pipelines.text_table import TextTable


class SuiteTables:
    """The tables of what is known so far.

    A mean over a group or over all tasks is there only if each of them has a score.
    """

    def __init__(
        self,
        suite: Suite,
        results: Sequence[TaskResult],
        candidates: Candidates,
        published: PublishedResults,
    ) -> None:
        """Group the tasks.

        Args:
            suite: the suite.
            results: the tasks that were run.
            candidates: the lines, and what was tried for them.
            published: published results, for lines below.
        """
        self._suite = suite
        self._results = {result.task: result for result in results}
        self._candidates = candidates
        self._lines = list(candidates.lines)
        self._published = list(enumerate(published.results, start=1))
        self._backbone = published.backbone
        self._groups = {group: [task.name for task in tasks] for group, tasks in suite.groups.items()}
        self._others = [name for name in self._results if suite.group_of(name) is None]

    def all(self) -> list[TextTable]:
        """All tables."""
        return [self._tasks(), self._means(), self._choices()]

    def _tasks(self) -> TextTable:
        """A line for each task, below each group its mean."""
        published = [(number, one) for number, one in self._published if one.tasks]
        lines = []
        for group, names in (*self._groups.items(), (None, self._others)):
            if self._results.keys().isdisjoint(names):
                continue
            for name in names:
                cells = [self._cell(line, name) for line in self._lines]
                known = [_number(one.tasks.get(name)) for _, one in published]
                lines.append([name, *map(text_of, cells), *known])
            if group is not None:
                means = [self._mean(line, names) for line in self._lines]
                known = [_mean_text(one.mean_of(names)) for _, one in published]
                lines.append([f"mean of {group}", *map(text_of, means), *known])
        return TextTable(
            above=[f"{self._suite.title}: top-1 accuracy on the test splits in percent"],
            titles=["task", *self._lines, *(_reference(number, one) for number, one in published)],
            labels=1,
            lines=lines,
        )

    def _means(self) -> TextTable:
        """A line for each side network and each published result."""
        tasks = list(self._suite.tasks)
        scored = [name for name, result in self._results.items() if result.scores]
        of_groups = [f"mean of the {len(self._groups)} groups"] if len(self._groups) > 1 else []
        partial = [f"mean of only these {len(scored)} tasks"] if scored != tasks and len(scored) > 1 else []
        lines = []
        for line in self._lines:
            groups = [self._mean(line, names) for names in self._groups.values()]
            means = [*(Cell.mean_of(groups) for _ in of_groups), self._mean(line, tasks)]
            means += [self._mean(line, scored) for _ in partial]
            lines.append([line, self._parameters(line), *map(text_of, means)])
        for number, one in self._published:
            known = [*(one.mean_of_groups for _ in of_groups), one.mean_of_tasks]
            known += [one.mean_of(scored) for _ in partial]
            lines.append([_reference(number, one), one.parameters or MISSING, *map(_mean_text, known)])
        return TextTable(
            above=[f"{self._suite.title}: means. {MISSING} not known, or not all of its tasks have a score."],
            titles=["side network", "parameters", *of_groups, f"mean of the {len(tasks)} tasks", *partial],
            labels=1,
            lines=lines,
            below=[
                f"[...] published results of {self._backbone}, comparable only with the same backbone and "
                "images. Parameters are those without the head.",
                *(f"[{number}] {one.described}" for number, one in self._published),
                *self._sources(),
            ],
        )

    def _sources(self) -> Iterator[str]:
        """Where published numbers were read, a line for each place."""
        numbers: dict[str | None, list[str]] = {}
        for number, one in self._published:
            numbers.setdefault(one.source, []).append(f"[{number}]")
        for source, named in numbers.items():
            place = "it is not recorded where they were read" if source is None else source
            yield f"Numbers of {', '.join(named)}: {place}"

    def _choices(self) -> TextTable:
        """The options of each choice, as far as there was one."""
        named = [name for name in self._candidates.tried if name != "side"]
        lines = [
            [
                task,
                score.line,
                " ".join(f"{name}={shown(score.options[name])}" for name in named if name in score.options),
                f"{100 * score.selection_accuracy:.1f}",
                text_of(score.cell),
            ]
            for task, result in self._results.items()
            for score in result.scores
        ]
        return TextTable(
            above=["What was chosen, by the accuracy on the images held out; test was not looked at before:"],
            titles=["task", "side network", "options", "held out", "test"],
            labels=3,
            lines=lines,
        )

    def _cell(self, line: str, task: str) -> Cell | None:
        result = self._results.get(task)
        score = None if result is None else result.score(line)
        return None if score is None else score.cell

    def _mean(self, line: str, tasks: Sequence[str]) -> Cell | None:
        """The mean over some tasks; None if one of them has no score."""
        return Cell.mean_of([self._cell(line, task) for task in tasks])

    def _parameters(self, line: str) -> str:
        scores = (result.score(line) for result in self._results.values())
        found = {score.parameters - score.head_parameters for score in scores if score is not None}
        return " to ".join(f"{number:,}" for number in sorted({min(found), max(found)})) if found else MISSING


def _reference(number: int, one: PublishedResult) -> str:
    return f"{one.method} [{number}]"


def _number(accuracy: float | None) -> str:
    return MISSING if accuracy is None else f"{accuracy:.1f}"


def _mean_text(accuracy: float | None) -> str:
    return MISSING if accuracy is None else f"{accuracy:.2f}"
