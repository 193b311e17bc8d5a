"""What is told of a task before it is extracted."""

from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.suite.found_tasks import find_tasks
from losa.pipelines.suite.opened_tasks import OpenedTask, open_task
from losa.pipelines.suite.vtab1k import VTAB1K


def opened(root: Path) -> OpenedTask:
    return open_task(find_tasks(VTAB1K, str(root)).tasks[0], VTAB1K)


def test_what_differs_from_the_benchmark_is_noted(tmp_path: Path, draw_task: Any) -> None:
    draw_task(tmp_path / "svhn")
    task = opened(tmp_path)
    assert list(task.notes(VTAB1K)) == [
        "labels of 2 classes, where VTAB-1K has 10",
        "6 training images, where VTAB-1K has 1,000",
    ]
    assert (task.images("train800", "train800val200"), task.images("test")) == (6, 3)


def test_a_full_task_has_nothing_to_note(tmp_path: Path, draw_task: Any) -> None:
    draw_task(tmp_path / "kitti", train800=[0, 1, 2, 3] * 200, val200=[0, 1] * 100)
    assert list(opened(tmp_path).notes(VTAB1K)) == []


def test_too_many_classes_are_refused(tmp_path: Path, draw_task: Any) -> None:
    draw_task(tmp_path / "svhn", test=(0, 10))
    with pytest.raises(LosaError, match="the highest label is 10"):
        opened(tmp_path)
