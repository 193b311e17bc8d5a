"""The tables say what was measured, and why something was not."""

import pytest

from losa.pipelines.report.efficiency.rows import efficiency_rows
from losa.pipelines.report.efficiency.tables import efficiency_tables


@pytest.fixture
def tables(comparison, measured):
    def make(*others):
        found = [measured("extraction", "extraction"), measured("backbone", "backbone"), *others]
        return efficiency_tables(efficiency_rows(found, comparison), comparison)

    return make


def test_costs_and_ratios(tables, measured):
    costs, ratios = tables(measured("cache", "losa"), measured("live", "lora"))
    lines = [dict(zip(costs.titles, line, strict=True)) for line in costs.lines]
    assert [line["method"] for line in lines] == ["extraction", "backbone", "losa", "lora"]
    assert lines[2] == {
        "method": "losa",
        "trained from": "cache",
        "parameters": "1,234",
        "s/epoch": "1.25",
        "3 epochs, s": "3.75",
        "with extraction": "8.75",
        "peak memory": "500.0 kB",
        "cache": "1.0 MB",
        "GFLOPs": "2.5",
        "images/s": "80",
    }
    assert "test_vit" in costs.above[0]
    assert "10 images of leaves (train800val200), batch 4, rank 2" in costs.above[0]
    assert "Side networks compute 2 images at once" in costs.below[0]
    assert ratios.above == ["Compared with lora:"]
    assert ratios.lines == [["losa", "4", "1.71", "25%", "2"], ["lora", "1", "1", "100%", ""]]


def test_a_cache_that_never_pays(tables, measured):
    _, ratios = tables(measured("cache", "last"), measured("live", "losa"))
    assert ratios.lines[0][-1] == "never"


def test_why_a_method_has_no_figures_stands_below(tables, measured):
    (costs,) = tables(measured("live", "lora", checkpointing=True, note="does not fit (5 GB)"))
    assert costs.lines[-1] == ["lora, checkpointing", "live", *["-"] * 8]
    assert costs.below[-1] == "lora, checkpointing: does not fit (5 GB)"
