import json
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.report.configurations import Task, tasks_of
from losa.pipelines.report.confusions import ClassConfusion, read_confusions
from losa.pipelines.report.inputs import read_members


@pytest.fixture
def task(tmp_path: Path, make_sweep: Any) -> Task:
    """Two seeds, of which the first confuses what the second does not."""
    configs = [AdaptConfig(cache="pets", seed=seed) for seed in (0, 1)]
    folder = make_sweep(tmp_path / "runs", configs, [0.5, 0.5])
    second = folder / configs[1].member_name / "confusion.json"
    second.write_text(
        json.dumps({"classes": {"label": ["cat", "dog"]}, "splits": {"test": {"label": [[1, 1, 4]]}}})
    )
    (found,) = tasks_of(read_members([str(folder)]))
    return found


def test_counts_are_added_over_the_seeds(task: Task) -> None:
    (confusion,) = read_confusions(task)
    assert dict(confusion.counts) == {(0, 0): 3, (1, 0): 1, (1, 1): 4}
    assert confusion.most_confused(5) == [("dog", "cat", 1, 0.2)]


def test_a_member_without_a_confusion_has_none(task: Task) -> None:
    assert task.best is not None
    for member in task.best.members:
        assert member.folder is not None
        (member.folder / "confusion.json").unlink()
    assert read_confusions(task) == []


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"splits": {"test": {"label": [[0]]}}, "classes": {"label": null}}']
)
def test_a_damaged_file_is_refused(content: str, task: Task) -> None:
    assert task.best is not None
    assert task.best.members[0].folder is not None
    (task.best.members[0].folder / "confusion.json").write_text(content)
    with pytest.raises(LosaError, match=r"confusion.json is damaged"):
        read_confusions(task)


def test_pairs_of_ten_thousand_classes_are_ordered_by_images_then_share() -> None:
    counts = {(0, 0): 8, (0, 9999): 2, (5, 5): 2, (5, 7): 2, (3, 4): 1}
    confusion = ClassConfusion(column="label", counts=counts, names=None)
    assert confusion.classes == [0, 3, 4, 5, 7, 9999]
    assert confusion.most_confused(2) == [("5", "7", 2, 0.5), ("0", "9999", 2, 0.2)]
