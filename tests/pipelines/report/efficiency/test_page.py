"""The page draws accuracy against every cost, and its tables are sorted by numbers."""

from pathlib import Path

import pytest

from losa.pipelines.report.efficiency.rows import efficiency_rows
from losa.pipelines.report.efficiency.tables import efficiency_tables

pytest.importorskip("altair")

from losa.pipelines.report.efficiency import page as module
from losa.pipelines.report.efficiency.page import pareto_points, winners, write_page


@pytest.fixture
def written(comparison, measured, monkeypatch):
    """The report that is rendered for some measurements, and the rows."""

    def write(*others, accuracies):
        found = [measured("extraction", "extraction"), measured("backbone", "backbone"), *others]
        rows = efficiency_rows(found, comparison, accuracies)
        reports = []
        monkeypatch.setattr(module, "render", lambda report: reports.append(report) or "page")
        Path(comparison.out).mkdir()
        path = write_page(rows, efficiency_tables(rows, comparison), comparison)
        assert path.read_text() == "page"
        return reports[0], rows

    return write


def test_points_are_what_was_scored_on_every_axis(written, measured):
    losa, lora = measured("cache", "losa"), measured("live", "lora")
    report, rows = written(losa, lora, measured("live", "full"), accuracies={"losa": 0.9, "lora": 0.8})
    points = pareto_points(rows)
    assert [(point["name"], point["accuracy"]) for point in points] == [("losa", 90.0), ("lora", 80.0)]
    assert points[0]["seconds_with_extraction"] == pytest.approx(8.75)
    assert points[0]["gigabytes"] == pytest.approx(0.0005)
    assert points[0]["milliseconds"] == pytest.approx(1000 / 80)
    assert points[1]["cache"] is None
    assert report.pareto is not None
    assert report.winners == [
        "Most accurate: losa, 90.0 %.",
        "Fastest training: losa.",
        "Least memory: losa.",
    ]


def test_columns_are_sorted_by_numbers_and_failures_are_told(written, measured):
    failed = measured("live", "full", note="does not fit (5 GB)")
    report, _ = written(measured("cache", "losa"), measured("live", "lora"), failed, accuracies={})
    assert report.pareto is None
    assert report.failures == ["full: does not fit (5 GB)"]
    columns = dict(zip(report.configurations.titles, report.configurations.rows[2], strict=True))
    assert (columns["peak memory"].text, columns["peak memory"].order) == ("500.0 kB", 500_000)
    assert columns["images/s"].order == 80
    assert columns["method"].order is None
    ratios = dict(zip(report.members.titles, report.members.rows[0], strict=True))
    assert ratios["of its memory"].order == pytest.approx(0.25)
    assert report.members_title == "Compared with lora:"


def test_nothing_is_best_where_nothing_was_measured(comparison, measured):
    rows = efficiency_rows([measured("extraction", "extraction")], comparison)
    assert winners(rows) == []
