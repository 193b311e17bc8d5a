"""What came out of a task: a score for each final member, and why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from losa.pipelines.cells import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The final members of a line of the table on a task."""

    line: str
    options: dict[str, Any]
    """Options of the choice that have an effect, without the seeds."""
    candidates: int
    """Number of configurations that were chosen from."""
    selected_on: str
    """The split that the choice was made on."""
    selection_accuracy: float
    """Mean accuracy of the choice on it."""
    parameters: int
    head_parameters: int
    accuracies: Sequence[float | None]
    """Top-1 accuracy on the test split, of each seed, a fraction."""
    folders: Sequence[str]
    """Folders of the members, of each seed."""
    test_images: int

    @property
    def cell(self) -> Cell | None:
        """Mean and standard error over the seeds, in percent."""
        return Cell.of_seeds(self.accuracies)


@dataclass(slots=True, kw_only=True)
class TaskResult:
    """A task and its scores."""

    task: str
    group: str | None
    scores: list[Score] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What went wrong: with the whole task, or with lines of the table."""

    def score(self, line: str) -> Score | None:
        """The score of a line, if it has one."""
        return next((score for score in self.scores if score.line == line), None)
