import csv
import io
from typing import Any

from losa.adapt import AdaptConfig
from losa.pipelines.trackers.members_table import MembersTable


def member(make_summary: Any, accuracy: dict[str, float], **options: Any) -> Any:
    return make_summary(AdaptConfig(cache="cache", **options), accuracy=accuracy)


def test_members_come_best_first_with_the_options_that_differ(make_summary: Any) -> None:
    table = MembersTable.of(
        [
            member(make_summary, {"val200": 0.25}, rank=4),
            member(make_summary, {"val200": 1 / 3}, rank=8, sites=["embed"]),
            member(make_summary, {"test": 0.9}, rank=16),  # chosen, and scored on another split
        ]
    )
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["rank"] for row in rows] == [8, 4, 16]
    assert [row["sites"] for row in rows] == ["[embed]", "all", "all"]
    assert "lr" not in table.columns
    read = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row["accuracy/val200"] for row in read] == [repr(1 / 3), "0.25", ""]
    assert [row["accuracy/test"] for row in read] == ["", "", "0.9"]
    assert "| 0.333333 |" in table.to_markdown()
