"""Which tasks of a suite are in a folder, and how each of them is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from losa.cache_format import LosaError
from losa.cache_format.common.suggestions import nearest
from losa.cache_format.storage.paths import local_path
from losa.extract import DatasetConfig
from losa.extract.sources.folder import SPLIT_FOLDERS
from losa.extract.sources.lists import has_lists
from losa.pipelines.suite.tasks import Suite, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTask:
    """A task whose folder exists."""

    name: str
    group: str | None
    """None for a task that is not of the suite."""
    dataset: DatasetConfig
    num_classes: int | None
    """Number of classes that the suite's task has; None for another task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTasks:
    """What there is in a folder."""

    tasks: Sequence[FoundTask]
    """In the order of the suite, then others."""
    missing: Sequence[str]
    """Names of the suite's other tasks."""
    others: Sequence[str]
    """Names of folders with lists that are left out, because they are not of the suite."""


def find_tasks(suite: Suite, root: str, names: Sequence[str] | None = None) -> FoundTasks:
    """The tasks in a folder; nothing is opened.

    Args:
        suite: the tasks to look for.
        root: folder of their folders.
        names: names of tasks, or of other folders, to take; None: all tasks of the suite that are there.

    Raises:
        LosaError: the folder, or a named one in it, does not exist, or there is no task.
    """
    place = local_path(root)
    if not place.is_dir():
        raise LosaError(f"root={root}: expected a folder, found {'a file' if place.exists() else 'nothing'}")
    folders = {name: _folder(place, task) for name, task in suite.tasks.items()}
    there = {name: folder for name, folder in folders.items() if folder is not None}
    others = sorted(
        path.name
        for path in place.iterdir()
        if path.is_dir() and path.name not in there.values() and has_lists(path)
    )
    if names is not None:
        for name in names:
            if name not in there and not (Path(name).name == name and (place / name).is_dir()):
                known = [*there, *others]
                raise LosaError(
                    f"tasks: {place} has no folder {name!r}; it has: {', '.join(known) or 'none'}"
                    f"{nearest(name, known)}"
                )
        there = {name: there.get(name, name) for name in [*suite.tasks, *names] if name in names}
    if not there:
        advice = f". It has other folders with lists: tasks=[{','.join(others)}] takes them" if others else ""
        expected = ", ".join(folder for task in suite.tasks.values() for folder in task.folders)
        raise LosaError(
            f"root={root}: no task of {suite.title} is there; expected folders {expected}{advice}"
        )
    return FoundTasks(
        tasks=[_found(suite, place, name, folder) for name, folder in there.items()],
        missing=[name for name in suite.tasks if name not in there],
        others=[name for name in others if name not in there.values()],
    )


def _folder(root: Path, task: Task) -> str | None:
    return next((name for name in task.folders if (root / name).is_dir()), None)


def _found(suite: Suite, root: Path, name: str, folder: str) -> FoundTask:
    task = suite.tasks.get(name)
    place = root / folder
    kind: Literal["lists", "folder", "fgvc"] = "fgvc"
    if has_lists(place) or suite.needs_lists:
        kind = "lists"
    elif task is None or any((place / split).is_dir() for split in SPLIT_FOLDERS):
        kind = "folder"
    dataset = DatasetConfig(
        kind=kind,
        name=name if task is None else task.dataset,
        root=str(root),
        subfolder=folder,
        layout=task.layout if task is not None and kind == "fgvc" else None,
        num_classes=task.num_classes if task is not None and kind == "lists" else None,
    )
    classes = None if task is None else task.num_classes
    return FoundTask(name=name, group=suite.group_of(name), dataset=dataset, num_classes=classes)
