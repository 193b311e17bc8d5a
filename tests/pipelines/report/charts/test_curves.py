import json
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.report.charts import curves
from losa.pipelines.report.charts.curves import curves_chart
from losa.pipelines.report.configurations import Task, tasks_of
from losa.pipelines.report.inputs import read_members


@pytest.fixture
def task(tmp_path: Path, make_sweep: Any) -> Task:
    configs = [AdaptConfig(cache="pets", rank=rank, epochs=7) for rank in (2, 4)]
    (found,) = tasks_of(read_members([str(make_sweep(tmp_path / "runs", configs, [0.5, 0.6]))]))
    return found


def folder_of(task: Task, place: int) -> Path:
    found = task.configurations[place].members[0].folder
    assert found is not None
    return found


def rows(task: Task) -> list[dict[str, Any]]:
    spec = curves_chart([task], ["losa"])
    assert spec is not None
    found: list[dict[str, Any]] = spec["datasets"]["data"]
    return found


def test_a_curve_for_each_member(task: Task) -> None:
    best, other = rows(task)
    assert (best["best"], other["best"]) == (True, False)
    assert best["member"] != other["member"]
    assert best["epoch"] == [1, 2, 3, 4, 5, 6, 7]
    assert best["train_loss"][:3] == [1.0, 0.5, 0.3333]
    assert best["val_accuracy"] is None


def test_accuracies_are_percent_and_may_have_gaps(task: Task) -> None:
    lines = [{"epoch": 0, "train_accuracy": 0.12345}, {"epoch": 1, "train_accuracy": None}]
    (folder_of(task, 0) / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert rows(task)[0]["train_accuracy"] == [12.35, None]


def test_many_epochs_are_thinned_out_and_the_last_one_stays(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "MOST_POINTS", 7)
    assert [one["epoch"] for one in rows(task)] == [[1, 3, 5, 7]] * 2


def test_members_without_metrics_have_no_curve(task: Task) -> None:
    (folder_of(task, 0) / "metrics.jsonl").unlink()
    assert len(rows(task)) == 1
    (folder_of(task, 1) / "metrics.jsonl").write_text('{"epoch": 0, "train_loss": null}')
    assert curves_chart([task], ["losa"]) is None


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"epoch": "one"}'])
def test_damaged_metrics_are_refused(line: str, task: Task) -> None:
    (folder_of(task, 0) / "metrics.jsonl").write_text(line)
    with pytest.raises(LosaError, match=r"metrics.jsonl is damaged: expected a JSON object with an epoch"):
        rows(task)
