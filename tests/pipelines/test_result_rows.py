from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from losa.adapt import AdaptConfig
from losa.pipelines.result_rows import ResultRow, ranked


@pytest.fixture
def row(make_summary: Any) -> Callable[..., ResultRow]:
    """``row(accuracy, status, **options)``: of a trained member."""

    def make(accuracy: dict[str, float], status: str = "finished", **options: Any) -> ResultRow:
        summary = make_summary(AdaptConfig(cache="cache", **options), accuracy=accuracy, status=status)
        return ResultRow.from_summary(summary)

    return make


def test_members_that_differ_only_in_seeds_are_one_configuration(row: Any) -> None:
    rows = [
        row({"test": score}, seed=seed, data_seed=seed // 2) for seed, score in enumerate((0.5, 0.6, 0.7))
    ]
    other = row({"test": 0.9}, lr=0.1)
    best, group = ranked([*rows, other])
    assert best.rows == [other]
    assert group.rows == rows
    assert (best.mean("test"), best.deviation("test")) == (0.9, None)
    assert group.mean("test") == pytest.approx(0.6)
    assert group.deviation("test") == pytest.approx(0.1)


def test_where_a_member_was_trained_makes_no_other_configuration(row: Any) -> None:
    rows = [row({"test": 0.5}, seed=0, device="cpu", threads=1, out="a"), row({"test": 0.6}, seed=1)]
    assert len(ranked(rows)) == 1


def test_options_without_effect_make_no_other_configuration(row: Any) -> None:
    rows = [row({"test": 0.5}, momentum=0.5, select_split="a"), row({"test": 0.6}, seed=1)]
    assert len(ranked(rows)) == 1


def test_a_seed_counts_once(row: Any) -> None:
    (group,) = ranked([row({"test": 0.5}), row({"test": 0.5}, out="elsewhere")])
    assert group.scores("test") == [0.5]


def test_the_first_split_decides_and_then_the_others(row: Any) -> None:
    scores = [{"val": 0.5, "test": 0.1}, {"val": 0.5, "test": 0.2}, {"val": 0.7, "test": 0.0}, {"test": 0.9}]
    rows = [row(accuracy, rank=number + 1) for number, accuracy in enumerate(scores)]
    assert [group.options["rank"] for group in ranked(rows)] == [3, 2, 1, 4]


def test_a_configuration_with_a_seed_that_was_pruned_comes_last(row: Any) -> None:
    rows = [
        row({"test": 0.9}, seed=0, lr=0.1),
        row({"test": 0.9}, "pruned", seed=1, lr=0.1),
        row({"test": 0.5}),
    ]
    assert [group.options["lr"] for group in ranked(rows)] == [0.003, 0.1]


def failed(folder: Path, reason: str = "no", **options: Any) -> ResultRow:
    hydra = {"runtime": {"output_dir": str(folder / "member")}, "sweep": {"dir": str(folder)}}
    return ResultRow.from_failed_job(OmegaConf.create({**options, "hydra": hydra}), reason)


def test_a_seed_that_failed_belongs_to_its_configuration(row: Any, tmp_path: Path) -> None:
    diverged = failed(tmp_path, cache="cache", side="linear", rank=3, seed=1, pool="cls")
    trained = row({"test": 0.9}, side="linear", rank=4, pool="cls")
    (group,) = ranked([trained, diverged])
    assert not group.is_complete
    assert group.scores("test") == [0.9]


def test_a_failed_candidate_belongs_to_its_configuration(row: Any, tmp_path: Path) -> None:
    diverged = failed(tmp_path, cache="cache", protocol="select", seed=1, pool="cls", rank=8)
    trained = row({"val200": 0.9}, train_split="train800", eval_split="val200", pool="cls", rank=8)
    assert len(ranked([trained, diverged])) == 1


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": "${nothing}"}])
def test_wrong_options_are_told_as_they_are(wrong: dict[str, Any], tmp_path: Path) -> None:
    row = failed(tmp_path, "member: two\nlines", cache="cache", **wrong)
    assert (row.options["rank"], row.status, row.reason, row.folder) == (
        wrong["rank"],
        "failed",
        "two lines",
        None,
    )
