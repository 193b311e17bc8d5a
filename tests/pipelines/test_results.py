import csv
from pathlib import Path
from typing import Any

from rich.console import Console

from losa.pipelines.results import results_table, sorted_by_accuracy, write_csv


def summary(member: str, side: str, rank: int | None, **accuracy: float) -> dict[str, Any]:
    return {
        "member": member,
        "side": side,
        "rank": rank,
        "lr": 0.003,
        "seed": 0,
        "parameters": 1234,
        "head_parameters": 34,
        "train_loss": 0.5,
        "seconds": 1.25,
        "accuracy": accuracy,
        "folder": f"runs/{member}",
    }


def test_the_best_comes_first_by_the_first_split() -> None:
    worse, better = summary("a", "losa", 4, val=0.5, test=0.9), summary("b", "losa", 8, val=0.6, test=0.1)
    assert sorted_by_accuracy([worse, better]) == [better, worse]


def test_the_table_has_a_line_for_each_member() -> None:
    console = Console(width=120, record=True)
    console.print(
        results_table([summary("a", "last", 16, test=0.98), summary("b", "linear", None, test=0.8)])
    )
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells == [
        ["last", "16", "0.003", "0", "1,234", "0.9800", "1.2"],
        ["linear", "", "0.003", "0", "1,234", "0.8000", "1.2"],
    ]


def test_the_file_has_every_number_in_full(tmp_path: Path) -> None:
    write_csv(tmp_path / "results.csv", [summary("a", "losa", 4, test=1 / 3)])
    with (tmp_path / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["accuracy.test"]) == 1 / 3
    assert row["folder"] == "runs/a"
