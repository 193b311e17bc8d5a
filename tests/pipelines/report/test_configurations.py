from pathlib import Path
from typing import Any

import pytest

from losa.pipelines.report.configurations import over_all, tasks_of


def test_members_that_differ_in_their_seeds_are_one_configuration(make_member: Any) -> None:
    members = [make_member(score, seed=seed) for seed, score in enumerate([0.4, 0.6])]
    (task,) = tasks_of([*members, make_member(0.9, kind="last", seed=5)])
    assert [one.name for one in task.configurations] == ["last", "losa"]
    assert str(task.configurations[1].cell("test")) == "50.0 ± 10.0"
    assert task.best is task.configurations[0]


def test_a_training_that_was_scored_twice_counts_once(make_member: Any) -> None:
    """As the jobs of a sweep over eval_split leave it."""
    members = [make_member(0.5, split="val"), make_member(0.25, split="test")]
    (task,) = tasks_of([*members, make_member(0.5, split="val")])
    (one,) = task.configurations
    assert (task.splits, one.scores("val"), one.scores("test")) == (["val", "test"], [0.5], [0.25])


def test_trainings_that_differ_for_the_same_seed_count_both(make_member: Any) -> None:
    """As of two folders, trained by different versions."""
    (task,) = tasks_of([make_member(0.5), make_member(0.25)])
    (one,) = task.configurations
    assert one.scores("test") == [0.5, 0.25]


def test_options_of_the_task_or_of_the_kind_make_no_other_configuration(make_member: Any) -> None:
    members = [
        make_member(
            kind=kind, task=task, seed=rank, options={"cache": task, "dropout": kind, "rank": str(rank)}
        )
        for kind in ("losa", "last")
        for task in ("pets", "birds")
        for rank in (4, 8)
    ]
    pets, birds = tasks_of(members)
    names = {"losa rank=4", "losa rank=8", "last rank=4", "last rank=8"}
    assert {one.name for one in pets.configurations} == {one.name for one in birds.configurations} == names


def test_configurations_that_lack_a_seed_come_last_and_do_not_win(make_member: Any) -> None:
    incomplete = [make_member(0.9, seed=0), make_member(None, seed=1, status="failed", reason="no memory")]
    pruned = [make_member(0.8, kind="lst", status="pruned")]
    (task,) = tasks_of([*incomplete, *pruned, make_member(0.5, kind="linear")])
    assert [one.kind for one in task.configurations] == ["linear", "losa", "lst"]
    assert [one.status for one in task.configurations] == ["finished", "1 of 2 failed", "1 of 1 pruned"]
    assert [one.kind for one, _ in task.ranked] == ["linear"]


def test_the_best_side_network_with_files_is_examined(make_member: Any) -> None:
    ensemble = make_member(0.9, kind="losa+lst")
    found = [
        make_member(score, kind=kind, folder=Path(kind)) for kind, score in (("lst", 0.7), ("losa", 0.8))
    ]
    (task,) = tasks_of([ensemble, *found])
    assert (task.best.kind, task.examined.kind, task.examined.folders) == ("losa+lst", "losa", [Path("losa")])
    (alone,) = tasks_of([ensemble])
    assert alone.examined is alone.best


def test_a_task_of_which_nothing_was_scored(make_member: Any) -> None:
    (task,) = tasks_of([make_member(None, status="failed")])
    assert (task.split, task.splits, task.best, task.ranked) == (None, [], None, [])


def test_costs_are_means_of_what_was_recorded(make_member: Any) -> None:
    members = [make_member(seed=seed, seconds=seconds) for seed, seconds in enumerate([1.0, None, 3.0])]
    (one,) = tasks_of(members)[0].configurations
    assert (one.cost("seconds"), one.cost("parameters"), one.cost("peak_bytes")) == (2.0, 100, None)


def test_the_mean_over_tasks_takes_configurations_that_all_tasks_rank(make_member: Any) -> None:
    scores = {"pets": {"losa": 0.5, "last": 0.4, "lst": 0.9}, "birds": {"losa": 0.6, "last": 0.8}}
    members = [
        make_member(score, kind=kind, task=task)
        for task, kinds in scores.items()
        for kind, score in kinds.items()
    ]
    found = [(one.name, cell.mean) for one, cell in over_all(tasks_of(members))]
    assert found == [("last", pytest.approx(60)), ("losa", pytest.approx(55))]
