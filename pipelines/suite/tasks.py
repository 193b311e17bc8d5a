"""A suite: tasks that are reported in one table."""

from collections.abc import Mapping
from dataclasses import dataclass

from losa.extract.config import FgvcLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A data set of a suite."""

    name: str
    dataset: str
    """Name of its preset in conf/dataset, which is its name in caches."""
    num_classes: int
    folders: tuple[str, ...]
    """Names that its folder may have, the preferred one first."""
    layout: FgvcLayout | None = None
    """How it is unpacked, if it has neither lists of its images nor a folder for each split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A benchmark of several tasks."""

    name: str
    """Name of its configuration in losa.conf and of its file of published results."""
    title: str
    groups: Mapping[str, tuple[Task, ...]]
    """Name of a group -> its tasks, in the order of the tables. A suite without groups has one."""
    needs_lists: bool
    """Whether every task has the four lists of VTAB-1K."""
    train_images: int | None = None
    """Number of images that published results train on; None where it differs between tasks."""

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks, by name."""
        return {task.name: task for tasks in self.groups.values() for task in tasks}

    def group_of(self, task: str) -> str | None:
        """The group of a task; None for a task that is not of the suite."""
        return next((group for group, tasks in self.groups.items() if task in {t.name for t in tasks}), None)
