"""Published results of a suite, with where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """A line of a published table. Accuracies are in percent."""

    method: str
    paper: str | None
    """The paper of the method; None for those that everyone knows."""
    source: str | None
    """Where the numbers were read; None if nobody wrote it down."""
    note: str | None
    """In what they differ from the others."""
    parameters: str | None
    """Trainable parameters without the head, as published."""
    mean_of_groups: float | None
    mean_of_tasks: float | None
    tasks: dict[str, float]
    """Task -> accuracy; empty if only the means are known."""

    @property
    def described(self) -> str:
        """The method, its paper, and the note."""
        return "; ".join(part for part in (self.method, self.paper, self.note) if part is not None)

    def mean_of(self, tasks: Sequence[str]) -> float | None:
        """The mean over some tasks; None if one is unknown."""
        found = [self.tasks[name] for name in tasks if name in self.tasks]
        return sum(found) / len(found) if found and len(found) == len(tasks) else None


@dataclass(frozen=True, kw_only=True)
class PublishedResults:
    """All published results of a suite."""

    backbone: str
    """The backbone of all of them."""
    results: list[PublishedResult]

    @classmethod
    def of(cls, suite: str) -> "PublishedResults":
        """Those of a suite, by its name."""
        path = files("losa.pipelines.suite").joinpath(f"published_results/{suite}.json")
        return TypeAdapter(cls).validate_json(path.read_bytes())
