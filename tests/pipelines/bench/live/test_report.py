"""The table of methods and side networks."""

import io

import pytest
from rich.console import Console

from losa.pipelines.bench.live.comparison import LiveComparison
from losa.pipelines.bench.live.report import means_over_sets, render_live


def row(name, method, **changes):
    return {
        "set": name,
        "method": method,
        "rank": None,
        "parameters": 75_658,
        "lr": 3e-3,
        "candidates": [{"lr": lr} for lr in (1e-3, 3e-3, 1e-2)],
        "trainings": [{"threads": 2}],
        "percent": {"mean": 75.0, "error": 3.0},
        "seconds": 600.0,
    } | changes


def side(name, **changes):
    return {
        "set": name,
        "method": "relay, selected",
        "parameters": 1000,
        "percent": {"mean": 87.5, "error": None},
        "seconds": 4.0,
    } | changes


@pytest.fixture
def shown():
    def show(rows, sides=(), **options):
        comparison = LiveComparison(data=["data"], out="out", backbone="deit", **options)
        file = io.StringIO()
        Console(file=file, width=120).print(render_live(rows, sides, comparison))
        return " ".join(file.getvalue().split())

    return show


def test_side_networks_stand_beside_the_methods_with_the_ratio_of_seconds(shown):
    rows = [row("leaves", "lora", rank=8), row("leaves", "bitfit", seconds=300.0, lr=1e-2)]
    text = shown(rows, [side("leaves")])
    assert "leaves │ lora │ 8 │ 75,658 │ 0.003 │ 75.0 ± 3.0 │ 600.0 │ 1.0 times" in text
    assert "│ bitfit │ │ 75,658 │ 0.01* │ 75.0 ± 3.0 │ 300.0 │ 2.0 times" in text
    assert "│ relay, selected │ │ 1,000 │ │ 87.5 │ 4.0 │ 150.0 times" in text
    assert "one beyond it may be better" in text
    assert "mean │" not in text


def test_without_side_networks_and_a_choice_less_is_told(shown):
    text = shown([row("leaves", "lora", candidates=[])], lrs=[3e-3])
    assert "without extraction" not in text
    assert "lr is the best" not in text
    assert "*" not in text


def test_means_are_of_methods_with_results_on_every_set():
    rows = [
        row("leaves", "lora"),
        row("stones", "lora", percent={"mean": 25.0, "error": 4.0}, seconds=200.0),
        row("leaves", "bitfit"),
        side("leaves"),
        side("stones"),
    ]
    lora, relay = means_over_sets(rows)
    assert lora == {
        "set": "mean",
        "method": "lora",
        "percent": {"mean": 50.0, "error": 2.5},
        "seconds": 400.0,
    }
    assert relay["method"] == "relay, selected"
    assert relay["percent"]["error"] is None


def test_the_means_end_the_table(shown):
    text = shown([row("leaves", "lora"), row("stones", "lora", seconds=200.0)])
    assert "mean │ lora │ │ │ │ 75.0 ± 2.1 │ 400.0 │ 1.0 times" in text
