"""The files hold all rows, with all digits, and are JSON and CSV."""

import csv
import json
from pathlib import Path

from losa.pipelines.report.efficiency.files import write_files
from losa.pipelines.report.efficiency.rows import efficiency_rows
from losa.pipelines.report.efficiency.tables import efficiency_tables


def test_rows_tables_options_and_machine_are_written(comparison, measured):
    found = [
        measured("extraction", "extraction"),
        measured("cache", "last"),
        measured("live", "losa"),
        measured("live", "lora", note="does not fit (5 GB)", checkpointing=True),
    ]
    rows = efficiency_rows(found, comparison)
    tables = efficiency_tables(rows, comparison)
    write_files(rows, tables, comparison)
    folder = Path(comparison.out)
    with (folder / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == ["extraction", "last", "losa", "lora"]
    assert float(lines[1]["seconds_per_epoch"]) == rows[1]["seconds_per_epoch"]
    assert lines[1]["break_even"] == "inf"
    assert lines[3]["note"] == "does not fit (5 GB)"
    content = json.loads((folder / "results.json").read_text())
    assert content["rows"][1]["break_even"] is None
    assert content["rows"][0]["seconds"] == 5.0
    assert content["images"] == 10
    assert content["settings"]["backbone"] == "test_vit"
    assert content["machine"]["cores"] >= 1
    page = (folder / "table.md").read_text()
    assert "| last | cache | 1,234 |" in page
    assert "| last | 0.5 |" in page
