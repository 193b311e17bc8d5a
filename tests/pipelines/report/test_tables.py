from typing import Any

from losa.pipelines.report.configurations import tasks_of
from losa.pipelines.report.tables import configuration_table, member_table


def test_a_row_for_each_configuration(make_member: Any) -> None:
    members = [
        make_member(score, seed=seed, options={"rank": str(rank), "norm": "frozen"}, peak_bytes=2_000_000)
        for rank, scores in {4: (0.5, 0.6), 16: (0.7, 0.8)}.items()
        for seed, score in enumerate(scores)
    ]
    table = configuration_table(tasks_of([*members, make_member(None, kind="lst", status="failed")]))
    assert table.titles == [
        "place", "kind", "rank", "test, %", "seeds", "parameters", "seconds", "memory of the pass", "status"
    ]  # fmt: skip
    best, _, failed = table.rows
    assert [cell.text for cell in best][:6] == ["1", "losa", "16", "75.0 ± 5.0", "2", "100"]
    assert [cell.order for cell in best][:6] == [1, None, 16, 75.0, 2, 100]
    assert [cell.text for cell in failed][3] == ""
    assert failed[-1].text == "1 of 1 failed"


def test_a_row_for_each_member(make_member: Any) -> None:
    members = [make_member(0.5), make_member(None, task="birds", status="failed", reason="no memory")]
    table = member_table(tasks_of(members))
    assert table.titles == ["task", "kind", "seed", "test, %", "parameters", "seconds", "status", "reason"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["pets", "losa", "0", "50.00", "100", "1.5", "finished", ""],
        ["birds", "losa", "0", "", "100", "1.5", "failed", "no memory"],
    ]
