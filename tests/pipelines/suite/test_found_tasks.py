"""Tasks are found by the names of their folders, and read as they are unpacked."""

from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.suite.fgvc import FGVC
from losa.pipelines.suite.found_tasks import find_tasks
from losa.pipelines.suite.vtab1k import VTAB1K


@pytest.fixture
def root(tmp_path: Path, draw_task: Any) -> Path:
    """Two tasks of VTAB-1K, and another folder."""
    for name in ("svhn", "dtd", "signs"):
        draw_task(tmp_path / name)
    (tmp_path / "weights").mkdir()
    return tmp_path


def test_all_tasks_that_are_there_in_the_order_of_the_suite(root: Path) -> None:
    found = find_tasks(VTAB1K, str(root))
    assert [(task.name, task.group, task.num_classes) for task in found.tasks] == [
        ("dtd", "natural", 47),
        ("svhn", "natural", 10),
    ]
    assert len(found.missing) == 17
    assert found.others == ["signs"]
    assert found.tasks[0].dataset.name == "vtab/dtd"


def test_named_folders_may_be_others(root: Path) -> None:
    found = find_tasks(VTAB1K, str(root), ["signs", "svhn"])
    assert [(task.name, task.group, task.num_classes) for task in found.tasks] == [
        ("svhn", "natural", 10),
        ("signs", None, None),
    ]
    assert "dtd" in found.missing
    assert found.others == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["svnh"], "has no folder 'svnh'; it has: dtd, svhn, signs; did you mean 'svhn'?"),
        (["svhn", "cifar"], "has no folder 'cifar'"),
        (["../signs"], "has no folder '../signs'"),
    ],
)
def test_a_name_without_a_folder_is_refused(root: Path, names: list[str], message: str) -> None:
    with pytest.raises(LosaError) as caught:
        find_tasks(VTAB1K, str(root), names)
    assert message in str(caught.value)


def test_a_folder_without_tasks_is_refused(tmp_path: Path, draw_task: Any) -> None:
    with pytest.raises(LosaError, match=r"root=.*gone: expected a folder, found nothing"):
        find_tasks(VTAB1K, str(tmp_path / "gone"))
    draw_task(tmp_path / "signs")
    with pytest.raises(LosaError, match=r"no task of VTAB-1K is there; .* tasks=\[signs\] takes them"):
        find_tasks(VTAB1K, str(tmp_path))


def test_data_sets_of_fgvc_as_unpacked_as_lists_or_as_folders(tmp_path: Path, draw_task: Any) -> None:
    (tmp_path / "CUB_200_2011/images").mkdir(parents=True)
    draw_task(tmp_path / "dogs")
    (tmp_path / "cars/train/audi").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    found = find_tasks(FGVC, str(tmp_path), ["cub", "dogs", "cars", "mine"])
    assert [(task.name, task.dataset.kind, task.dataset.subfolder) for task in found.tasks] == [
        ("cub", "fgvc", "CUB_200_2011"),
        ("dogs", "lists", "dogs"),
        ("cars", "folder", "cars"),
        ("mine", "folder", "mine"),
    ]
    assert found.tasks[0].dataset.layout == "cub"
