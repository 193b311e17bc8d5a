import csv
from pathlib import Path

import pytest

from losa.pipelines.result_rows import ResultRow, ranked
from losa.pipelines.results_file import write_results


def written(path: Path, rows: list[ResultRow]) -> list[dict[str, str]]:
    write_results(path, ranked(rows))
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_member_has_a_line_with_every_number_in_full(tmp_path: Path) -> None:
    def row(seed: int, accuracy: float) -> ResultRow:
        options = {"side": "losa", "rank": 4, "lr": 1 / 3, "seed": seed, "data_seed": seed}
        return ResultRow(
            options=options, status="finished", accuracy={"test": accuracy}, folder=f"runs/{seed}\n,"
        )

    lines = written(tmp_path / "results.csv", [row(0, 1 / 3), row(1, 0.5)])
    assert [float(line["accuracy.test"]) for line in lines] == [1 / 3, 0.5]
    assert [float(line["mean.test"]) for line in lines] == pytest.approx([5 / 12] * 2)
    assert [float(line["standard_deviation.test"]) for line in lines] == pytest.approx([2**0.5 / 12] * 2)
    assert [line["seeds"] for line in lines] == ["2", "2"]
    assert [line["data_seed"] for line in lines] == ["0", "1"]
    assert float(lines[0]["lr"]) == 1 / 3
    assert [line["folder"] for line in lines] == ["runs/0\n,", "runs/1\n,"]


def test_options_that_differ_have_a_column(tmp_path: Path) -> None:
    rows = [
        ResultRow(options={"side": "linear", "norm": norm, "heads": 4}, status="failed", reason="a, b")
        for norm in ("layer", "none")
    ]
    lines = written(tmp_path / "results.csv", rows)
    assert [(line["configuration"], line["norm"], line["reason"]) for line in lines] == [
        ("1", "layer", "a, b"),
        ("2", "none", "a, b"),
    ]
    assert "heads" not in lines[0]


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    row = ResultRow(options={"side": "losa"}, status="finished", accuracy={"test": 0.5})
    written(path, [row])
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="full"):
        write_results(path, ranked([row, row]))
    assert path.read_bytes() == before
