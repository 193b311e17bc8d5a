"""The nineteen tasks, and a walk through all of them."""

import csv
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from losa.pipelines.suite.vtab1k import VTAB1K

Command = Callable[..., Any]


def test_the_tasks_are_those_of_the_presets() -> None:
    presets = files("losa.conf") / "dataset/vtab"
    found = {}
    for task in VTAB1K.tasks.values():
        preset = yaml.safe_load((presets / f"{task.name}.yaml").read_text(encoding="utf-8"))
        found[task.name] = preset["dataset"]
        assert preset["dataset"]["name"] == task.dataset
        assert preset["dataset"]["num_classes"] == task.num_classes
        assert (preset["dataset"]["subfolder"],) == task.folders
    assert len(found) == 19
    assert {group: len(tasks) for group, tasks in VTAB1K.groups.items()} == {
        "natural": 7,
        "specialized": 4,
        "structured": 8,
    }


@pytest.mark.long
def test_a_walk_through_all_tasks(command: Command, tmp_path: Path, draw_task: Any, tiny: list[str]) -> None:
    for task in VTAB1K.tasks.values():
        draw_task(tmp_path / "vtab" / task.name, test=(0, 1, task.num_classes - 1))
    finished = command(tmp_path, "losa-vtab1k", "root=vtab", "out=out", *tiny)
    assert finished.returncode == 0, finished.stderr
    with (tmp_path / "out/results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["task"], row["group"]) for row in rows] == [
        (task.name, group) for group, tasks in VTAB1K.groups.items() for task in tasks for _ in range(2)
    ]
    by_task = {task: [float(row["accuracy"]) for row in rows if row["task"] == task] for task in VTAB1K.tasks}
    content = json.loads((tmp_path / "out/results.json").read_text())
    assert (content["missing"], content["waiting"]) == ([], [])
    means = {task: 100 * sum(scores) / len(scores) for task, scores in by_task.items()}
    groups = [sum(means[task.name] for task in tasks) / len(tasks) for tasks in VTAB1K.groups.values()]
    table = (tmp_path / "out/table.md").read_text(encoding="utf-8")
    for group, mean in zip(VTAB1K.groups, groups, strict=True):
        assert f"| mean of {group} | {mean:.1f} ± " in table
    (line,) = [line for line in table.splitlines() if line.startswith("| linear | 0 |")]
    assert f"| {sum(groups) / 3:.1f} ± " in line
    assert f"| {sum(means.values()) / 19:.1f} ± " in line
    assert "mean of the 3 groups | mean of the 19 tasks |\n" in table
    assert "| mean of natural | " in table
    assert "80.86 |" in table  # of LAST, as published
    for task in VTAB1K.tasks.values():
        assert f"{task.name} " in finished.stdout
        assert f" {task.num_classes} " in finished.stdout
