"""The end of a multirun."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from losa.pipelines.job_failure import JobFailure
from losa.pipelines.job_result import JobResult
from losa.pipelines.results import ResultsTable

Job = tuple[DictConfig, JobReturn]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """``job(folder, value, **options)``: a job that returned a value, in a folder of the sweep."""

    def make(folder: str, value: Any, **options: Any) -> Job:
        done = JobReturn(status=JobStatus.COMPLETED)
        done.return_value = value
        hydra = {"runtime": {"output_dir": f"{tmp_path}/{folder}"}, "sweep": {"dir": str(tmp_path)}}
        return OmegaConf.create({**options, "hydra": hydra}), done

    return make


def end(table: ResultsTable, folder: Path) -> list[dict[str, str]]:
    """End the sweep; the lines of results.csv."""
    table.on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_members_are_told_apart_by_their_folders(make_summary: Any, job: Any, tmp_path: Path) -> None:
    table = ResultsTable()
    for folder in ("a", "b", "a"):
        table.on_job_end(*job(folder, JobResult(replace(make_summary(), folder=folder))))
    assert [row["folder"] for row in end(table, tmp_path)] == ["a", "b"]


def test_failed_jobs_are_at_the_bottom(
    make_summary: Any, job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ResultsTable()
    for _ in range(2):
        table.on_job_end(*job(".", JobFailure("rank=0: too\nsmall"), side="losa", rank=0, lr=0.003, seed=0))
    table.on_job_end(*job("a", JobResult(make_summary(rank=4))))
    rows = end(table, tmp_path)
    assert [(row["rank"], row["status"], row["reason"], row["folder"]) for row in rows] == [
        ("4", "finished", "", make_summary().folder),
        ("0", "failed", "rank=0: too small", ""),
    ]
    told = capsys.readouterr().out
    assert "failed: rank=0: too small" in told
    assert told.endswith(f"best: {make_summary().folder}\nall 2 with their folders: {tmp_path}/results.csv\n")


def test_a_sweep_of_failures_has_a_file_too(
    job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ResultsTable()
    table.on_job_end(*job("a", JobFailure("a: the loss became NaN"), side="losa"))
    (tmp_path / "a").mkdir()
    table.on_job_end(*job("a", JobFailure("a: the loss became NaN"), side="last"))
    rows = end(table, tmp_path)
    assert [(row["side"], row["reason"], bool(row["folder"])) for row in rows] == [
        ("losa", "the loss became NaN", False),
        ("last", "the loss became NaN", True),
    ]
    assert capsys.readouterr().out == f"all 2 with their folders: {tmp_path}/results.csv\n"


@pytest.mark.parametrize(
    ("told", "differing", "options"),
    [
        (True, "lr", {}),
        (False, "seed", {}),
        (False, "lr", {"protocol": "select"}),
        (False, "lr", {"select_split": "test"}),
        (False, "lr", {"val_split": "test"}),
    ],
)
def test_a_direct_sweep_says_that_it_is_sorted_by_the_test_split(
    told: bool,
    differing: str,
    options: dict[str, Any],
    make_summary: Any,
    job: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = ResultsTable()
    config = {"protocol": "direct", "select_split": "val200", "val_split": None} | options
    for number in (1, 2):
        summary = make_summary(**{differing: number}, options={})
        table.on_job_end(*job(f"{number}", JobResult(summary), **config))
    end(table, tmp_path)
    assert ("chooses on test" in caplog.text and "protocol=select" in caplog.text) == told


def test_a_selection_says_on_what_it_is_sorted(
    make_summary: Any, job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ResultsTable()
    summary = make_summary(accuracy={"val200": 0.5})
    table.on_job_end(*job("a", JobResult(summary), protocol="select"))
    end(table, tmp_path)
    assert "by accuracy on val200 (select_split)\n" in capsys.readouterr().out


def test_options_are_neither_markup_nor_control_characters(
    make_summary: Any, job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = ResultsTable()
    for number, cache in enumerate(("photos [/new]", "\x1b[31mred")):
        summary = make_summary()
        summary = replace(summary, options=summary.options | {"cache": cache}, folder=f"{cache}/{number}")
        table.on_job_end(*job(f"{number}", JobResult(summary)))
    end(table, tmp_path)
    told = capsys.readouterr().out
    assert "photos [/new]" in told
    assert "\\x1b[31mred" in told
    assert "\x1b[31m" not in told
