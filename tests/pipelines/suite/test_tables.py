"""Means are there only where every task has a score."""

from typing import Any

import pytest

from losa.pipelines.suite.candidates import Candidates
from losa.pipelines.suite.fgvc import FGVC
from losa.pipelines.suite.published import PublishedResults
from losa.pipelines.suite.scores import Score, TaskResult
from losa.pipelines.suite.tables import SuiteTables
from losa.pipelines.suite.tasks import Suite
from losa.pipelines.suite.vtab1k import VTAB1K


def result(task: str, accuracy: float, suite: Suite = VTAB1K) -> TaskResult:
    score = Score(
        line="losa",
        options={"side": "losa", "rank": 8, "lr": 1e-3},
        candidates=2,
        selected_on="val200",
        selection_accuracy=0.5,
        parameters=1_100,
        head_parameters=100,
        accuracies=[accuracy, accuracy + 0.02],
        folders=["a", "b"],
        test_images=50,
    )
    return TaskResult(task=task, group=suite.group_of(task), scores=[score])


@pytest.fixture
def tables(options: Any) -> Any:
    """``tables(*results, suite=...)``: the tables of LoSA, as Markdown."""

    def make(*results: TaskResult, suite: Suite = VTAB1K) -> list[str]:
        candidates = Candidates(options("side=losa", "lr=1e-3,3e-3"))
        found = SuiteTables(suite, results, candidates, PublishedResults.of(suite.name))
        return [table.markdown() for table in found.all()]

    return make


def row(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_all_tasks(tables: Any) -> None:
    tasks, means, chosen = tables(*(result(name, 0.5) for name in VTAB1K.tasks))
    assert row(tasks, "cifar") == ["51.0 ± 1.0", "66.7"]
    assert row(tasks, "mean of natural") == ["51.0 ± 0.4", "80.86"]
    assert row(tasks, "task") == ["losa", "LAST [3]"]
    assert row(means, "losa") == ["1,000", "51.0 ± 0.2", "51.0 ± 0.2"]
    assert row(means, "side network") == ["parameters", "mean of the 3 groups", "mean of the 19 tasks"]
    assert row(means, r"LAST [3]") == ["0.66M", "76.44", "74.15"]
    assert row(means, r"HST [1]") == ["-", "78.13", "75.99"]
    assert "[1] HST; arXiv 2310.05393; AugReg weights" in means
    assert "Numbers of [3], [8]: README of V-PETL Bench" in means
    assert "| dtd | losa | lr=0.001 | 50.0 | 51.0 ± 1.0 |" in chosen


def test_the_means_differ_as_the_groups_do(tables: Any) -> None:
    scores = {"natural": 0.9, "specialized": 0.6, "structured": 0.3}
    given = [result(name, scores[VTAB1K.group_of(name) or ""] - 0.01) for name in VTAB1K.tasks]
    _, means, _ = tables(*given)
    flat = (7 * 90 + 4 * 60 + 8 * 30) / 19
    _, of_groups, of_tasks = row(means, "losa")
    assert (of_groups.split()[0], of_tasks.split()[0]) == ("60.0", f"{flat:.1f}")


def test_a_group_without_all_tasks_has_no_mean(tables: Any) -> None:
    names = [name for name in VTAB1K.tasks if name != "svhn"]
    tasks, means, _ = tables(*(result(name, 0.5) for name in names))
    assert row(tasks, "svhn") == ["-", "86.1"]
    assert row(tasks, "mean of natural")[0] == "-"
    assert row(tasks, "mean of specialized")[0] == "51.0 ± 0.5"
    assert row(means, "losa")[1:] == ["-", "-", "51.0 ± 0.2"]
    assert row(means, "side network")[-1] == "mean of only these 18 tasks"


def test_other_tasks_are_in_no_group(tables: Any) -> None:
    tasks, means, _ = tables(result("signs", 0.5), result("leaves", 0.7))
    assert "mean of natural" not in tasks
    assert row(tasks, "signs") == ["51.0 ± 1.0", "-"]
    assert row(means, "losa")[1:] == ["-", "-", "61.0 ± 0.7"]
    assert row(means, "LAST [3]")[-1] == "-"


def test_a_failed_line_has_no_number(tables: Any) -> None:
    failed = TaskResult(task="dtd", group="natural", failures=["losa: the loss became NaN"])
    tasks, _, _ = tables(failed, result("svhn", 0.5))
    assert row(tasks, "dtd") == ["-", "76.1"]


def test_a_suite_of_one_group_has_one_mean(tables: Any) -> None:
    tasks, means, _ = tables(*(result(name, 0.5, FGVC) for name in FGVC.tasks), suite=FGVC)
    assert row(tasks, "mean of fine-grained") == ["51.0 ± 0.4"]
    assert row(means, "side network") == ["parameters", "mean of the 5 tasks"]
    assert row(means, "LAST [1]") == ["-", "89.50"]
