"""The choice on a validation split, with a stand-in for training."""

from collections.abc import Callable
from typing import Any

import pytest

from losa.adapt import AdaptConfig, Job
from losa.cache_format import LosaError
from losa.pipelines import different_members
from losa.pipelines.bench.study import accuracy, grid
from losa.pipelines.bench.study.accuracy import AccuracyStudy
from losa.pipelines.bench.study.caches import SetCaches


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, make_summary: Any) -> list[list[AdaptConfig]]:
    """The members of each call of `adapt_all`. 1e-2 is best on val200, the default on test."""
    found: list[list[AdaptConfig]] = []

    def adapt_all(jobs: list[Job]) -> list[Any]:
        found.append([job.config for job in jobs])
        return [
            make_summary(config, accuracy={split: _score(config, split) for split in config.eval_splits})
            for config in found[-1]
        ]

    def _score(config: AdaptConfig, split: str) -> float:
        return config.lr if split == "val200" else 0.5 - abs(config.lr - AdaptConfig.lr)

    monkeypatch.setattr(different_members, "adapt_all", adapt_all)
    monkeypatch.setattr(accuracy, "candidate_of", lambda job: job)
    monkeypatch.setattr(accuracy, "with_correct_images", list)
    monkeypatch.setattr(SetCaches, "of", lambda self: "cache")
    monkeypatch.setattr(grid, "grid_values", lambda: {"lr": (1e-3, 1e-2), "dropout": (0.0, 0.1)})
    return found


def test_the_choice_is_made_on_val200_and_trained_for_every_seed(
    settings: Callable[..., Any], calls: list[list[AdaptConfig]]
) -> None:
    found = AccuracyStudy(settings=settings(), choice_seeds=2).run()
    first, finals = calls
    # The linear probe has no dropout: two of its four points are one member.
    tried = [config for config in first if config.eval_splits == ("val200",)]
    assert [sum(config.side == side for config in tried) for side in ("linear", "losa")] == [4, 8]
    assert {(config.train_split, config.seed, config.data_seed) for config in tried} == {
        ("train800", 0, 0),
        ("train800", 1, 1),
    }
    assert [(config.side, config.lr, config.seed, config.data_seed) for config in finals] == [
        (side, 1e-2, seed, seed) for side in ("linear", "losa") for seed in (0, 1)
    ]
    assert {(config.train_split, config.eval_split) for config in finals} == {("train800val200", "test")}
    assert {row.variant: row.split for row in found} == {
        "fixed": "test",
        "candidate": "val200",
        "selected": "test",
    }


def test_without_a_choice_there_are_only_the_defaults(
    settings: Callable[..., Any], calls: list[list[AdaptConfig]]
) -> None:
    found = AccuracyStudy(settings=settings(validate=True)).run()
    assert len(calls) == 1
    assert {(row.variant, row.split, row.config.lr) for row in found} == {("fixed", "val200", AdaptConfig.lr)}


def test_the_defaults_alone_need_no_choice(
    settings: Callable[..., Any], calls: list[list[AdaptConfig]]
) -> None:
    found = AccuracyStudy(settings=settings(), fixed_only=True).run()
    assert len(calls) == 1
    assert {(row.variant, row.split) for row in found} == {("fixed", "test")}


def test_a_side_network_without_a_choice_fails_alone(
    settings: Callable[..., Any],
    calls: list[list[AdaptConfig]],
    make_summary: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(jobs: list[Job]) -> list[Any]:
        outcomes = [make_summary(job.config) for job in jobs]
        return [
            LosaError("the loss became NaN")
            if (job.config.side, job.config.eval_split) == ("losa", "val200")
            else outcome
            for job, outcome in zip(jobs, outcomes, strict=True)
        ]

    monkeypatch.setattr(different_members, "adapt_all", failing)
    selected = [row for row in AccuracyStudy(settings=settings()).run() if row.variant == "selected"]
    assert [(row.side, row.accuracy is None) for row in selected] == [
        ("linear", False),
        ("linear", False),
        ("losa", True),
        ("losa", True),
    ]
    assert "nothing to choose from" in selected[-1].reason
