"""Members and their results, as a file has them."""

import csv
from pathlib import Path
from typing import Any

from losa.pipelines.bench.study.rows import as_records, write_rows


def test_a_record_has_the_options_that_differ_and_all_digits(row: Any) -> None:
    records = as_records([row(1 / 3, lr=1e-3), row(0.5, lr=1e-2, side="linear", seed=1)], "protocol")
    assert (
        list(records[0])
        == [
            "set",
            "side",
            "protocol",
            "seed",
            "data_seed",
            "split",
            "accuracy",
            "lr",
            *["parameters", "head_parameters", "train_loss", "epochs", "seconds"],
            *["member", "status", "reason", "folder"],
        ]
        or "rank" not in records[0]
    )
    assert [record["accuracy"] for record in records] == [1 / 3, 0.5]
    assert [record["lr"] for record in records] == [1e-3, 1e-2]
    assert [record["protocol"] for record in records] == ["fixed", "fixed"]


def test_a_failed_member_has_a_reason_in_one_line(row: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "new", [row(0.5), row(None, seed=1)], "protocol")
    with (tmp_path / "new/results.csv").open(newline="", encoding="utf-8") as file:
        first, failed = csv.DictReader(file)
    assert (first["accuracy"], first["status"], first["reason"]) == ("0.5", "finished", "")
    assert (failed["accuracy"], failed["status"], failed["reason"]) == ("", "failed", "it diverged")
    assert failed["seconds"] == failed["folder"] == ""
