import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from losa.adapt import MemberSummary
from losa.pipelines.results import (
    JobResult,
    ResultRow,
    ResultsTable,
    results_table,
    shown,
    sorted_by_accuracy,
    varying_options,
    write_csv,
)


@pytest.fixture
def summary(make_summary: Any) -> Callable[..., MemberSummary]:
    """``summary(member, side, rank, options, **accuracy)``: of a member in ``runs/member``."""

    def make(
        member: str, side: str, rank: int | None, options: dict[str, Any] | None = None, **accuracy: float
    ) -> MemberSummary:
        return make_summary(  # type: ignore[no-any-return]
            member=member,
            side=side,
            rank=rank,
            accuracy=accuracy,
            options=options or {},
            folder=f"runs/{member}",
        )

    return make


@pytest.fixture
def row(summary: Any) -> Callable[..., ResultRow]:
    """The row of a ``summary``."""
    return lambda *arguments, **accuracy: ResultRow.from_summary(summary(*arguments, **accuracy))


def test_the_best_comes_first_by_the_first_split(row: Any) -> None:
    worse, better = row("a", "losa", 4, val=0.5, test=0.9), row("b", "losa", 8, val=0.6, test=0.1)
    assert sorted_by_accuracy([worse, better]) == [better, worse]


def test_members_without_the_first_split_come_last(row: Any) -> None:
    val, test, best = (
        row("a", "losa", 4, val=0.5),
        row("b", "losa", 4, test=0.9),
        row("c", "losa", 4, val=0.7, test=0.1),
    )
    assert sorted_by_accuracy([val, test, best]) == [best, val, test]
    console = Console(width=120, record=True)
    console.print(results_table([best, val, test]))
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line[5:7]] for line in lines] == [
        ["0.7000", "0.1000"],
        ["0.5000", ""],
        ["", "0.9000"],
    ]


def test_members_are_told_apart_by_their_folders(
    summary: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(folder: str) -> tuple[DictConfig, JobReturn]:
        finished = JobReturn(status=JobStatus.COMPLETED)
        finished.return_value = JobResult(replace(summary("same", "losa", 4, test=0.5), folder=folder))
        return OmegaConf.create({"hydra": {"runtime": {"output_dir": f"{tmp_path}/{folder}"}}}), finished

    table = ResultsTable()
    for folder in ("runs/a", "runs/b", "runs/a"):
        table.on_job_end(*job(folder))
    table.on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    with (tmp_path / "results.csv").open() as file:
        assert [row["folder"] for row in csv.DictReader(file)] == ["runs/a", "runs/b"]


def test_the_table_has_a_line_for_each_member(row: Any) -> None:
    console = Console(width=120, record=True)
    console.print(results_table([row("a", "last", 16, test=0.98), row("b", "linear", None, test=0.8)]))
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells == [
        ["last", "16", "0.003", "0", "1,234", "0.9800", "1.2"],
        ["linear", "", "0.003", "0", "1,234", "0.8000", "1.2"],
    ]


def test_the_file_has_every_number_in_full(row: Any, tmp_path: Path) -> None:
    write_csv(tmp_path / "results.csv", [row("a", "losa", 4, test=1 / 3)])
    with (tmp_path / "results.csv").open() as file:
        (found,) = csv.DictReader(file)
    assert float(found["accuracy.test"]) == 1 / 3
    assert found["folder"] == "runs/a"


def test_options_that_vary_have_a_column(row: Any, tmp_path: Path) -> None:
    options = [
        {"rank": 4, "norm": "layer", "dropout": 0.0, "heads": 4, "eval_split": "test", "out": "a"},
        {"rank": 8, "norm": "none", "dropout": 0.1, "heads": 4, "eval_split": "val", "out": "b"},
    ]
    plain, other = row("a", "losa", 4, options[0], test=0.5), row("b", "losa", 8, options[1], test=0.5)
    assert varying_options(options) == ["norm", "dropout"]
    table = results_table([plain, other])
    assert [column.header for column in table.columns][3:7] == ["seed", "norm", "dropout", "parameters"]
    write_csv(tmp_path / "results.csv", [plain, other])
    with (tmp_path / "results.csv").open() as file:
        assert [(line["norm"], line["dropout"]) for line in csv.DictReader(file)] == [
            ("layer", "0"),
            ("none", "0.1"),
        ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (3e-3, "0.003"), (["embed", 2], "[embed,2]"), ("cls", "cls"), (8, "8")],
)
def test_options_are_shown_as_they_are_typed(value: Any, text: str) -> None:
    assert shown(value) == text


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
    summary: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = ResultsTable()
    config = {"protocol": "direct", "select_split": "val200", "val_split": None} | options
    for number in (1, 2):
        done = JobReturn(status=JobStatus.COMPLETED)
        done.return_value = JobResult(summary(f"{number}", "losa", 4, {differing: number}, test=0.5))
        job = OmegaConf.create(config | {"hydra": {"runtime": {"output_dir": f"runs/{number}"}}})
        table.on_job_end(job, done)
    table.on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert ("chooses on test" in caplog.text and "protocol=select" in caplog.text) == told


def test_failed_jobs_are_at_the_bottom(
    summary: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(rank: int, value: Any) -> tuple[DictConfig, JobReturn]:
        done = JobReturn(status=JobStatus.COMPLETED)
        done.return_value = value
        options = {"side": "losa", "rank": rank, "lr": 0.003, "seed": 0}
        return OmegaConf.create({**options, "hydra": {"runtime": {"output_dir": f"runs/{rank}"}}}), done

    table = ResultsTable()
    table.on_job_end(*job(0, None))
    table.on_job_end(*job(0, None))
    table.on_job_end(*job(4, JobResult(summary("a", "losa", 4, test=0.5))))
    table.on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["losa", "4", "0.003", "0", "1,234", "0.5000", "1.2", ""],
        ["losa", "0", "0.003", "0", "", "", "", "failed"],
    ]
    with (tmp_path / "results.csv").open() as file:
        assert [(row["rank"], row["status"]) for row in csv.DictReader(file)] == [
            ("4", "finished"),
            ("0", "failed"),
        ]


def test_options_are_neither_markup_nor_control_characters(
    summary: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    table = ResultsTable()
    for number, cache in enumerate(("photos [/new]", "\x1b[31mred")):
        done = JobReturn(status=JobStatus.COMPLETED)
        done.return_value = JobResult(summary("a", "losa", 4, {"cache": cache}, test=0.5))
        table.on_job_end(OmegaConf.create({"hydra": {"runtime": {"output_dir": f"runs/{number}"}}}), done)
    table.on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    out = capsys.readouterr().out
    assert "photos [/new]" in out
    assert "\\x1b[31mred" in out
    assert "\x1b[31m" not in out


def test_a_result_is_a_number_for_sweepers_that_optimise(summary: Any) -> None:
    returned = JobResult(summary("a", "losa", 4, val200=0.75, test=0.5))
    assert float(returned) == 0.75
    assert returned.summary == summary("a", "losa", 4, val200=0.75, test=0.5)
