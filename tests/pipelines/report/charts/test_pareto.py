from typing import Any

import pytest
import vl_convert

from losa.pipelines.report.charts.pareto import AXES, draw_pareto, pareto_chart, pareto_rows
from losa.pipelines.report.configurations import tasks_of


def row(name: str, accuracy: float, **costs: float | None) -> dict[str, Any]:
    told = {"view": "pets, test", "kind": "losa", "low": accuracy, "high": accuracy, "shown": str(accuracy)}
    return {**told, **dict.fromkeys(AXES), "name": name, "accuracy": accuracy, **costs}


def marks(node: Any, name: str) -> list[dict[str, Any]]:
    """Items of the marks of a name that Vega draws."""
    found = []
    if isinstance(node, dict):
        if node.get("name") == name:
            found += node["items"]
        found += [item for value in node.values() for item in marks(value, name)]
    elif isinstance(node, list):
        found += [item for value in node for item in marks(value, name)]
    return found


def drawn(spec: dict[str, Any], layer: int) -> list[tuple[float, float]]:
    """Places of the points of a layer, from left to right."""
    graph = vl_convert.vegalite_to_scenegraph({**spec, "width": 400})
    return sorted((item["x"], -item["y"]) for item in marks(graph, f"layer_{layer}_marks"))


@pytest.mark.parametrize("axis", ["parameters", "seconds"])
def test_the_front_is_what_nothing_cheaper_equals(axis: str) -> None:
    points = {"a": (10, 50), "b": (10, 60), "c": (20, 55), "d": (30, 60), "e": (40, 70), "f": (50, 70)}
    rows = [row(name, accuracy, **{axis: cost}) for name, (cost, accuracy) in points.items()]
    spec = draw_pareto(rows, AXES, ["losa"])
    everything, front = drawn(spec, 2), drawn(spec, 3)
    assert len(everything) == 6
    assert len(front) == 2
    assert [place for place in everything if place in front] == front
    assert front[0] == max(place for place in everything if place[0] == everything[0][0])


def test_the_menu_has_the_axes_that_were_recorded(make_member: Any) -> None:
    members = [make_member(0.5, seed=seed, peak_bytes=2_000_000_000, sites=4) for seed in (0, 1)]
    spec = pareto_chart(tasks_of([*members, make_member(0.6, kind="linear", rank=None)]), ["losa", "linear"])
    assert spec is not None
    menus = {param["name"]: param.get("bind", {}).get("options") for param in spec["params"]}
    assert menus == {"view": None, "axis": ["parameters", "seconds", "gigabytes", "sites"]}


def test_a_point_tells_its_costs_and_those_that_it_lacks() -> None:
    rows = [row("a", 50, parameters=1_234_567, seconds=0.5), row("b", 60, parameters=20)]
    first, second = draw_pareto(rows, AXES, ["losa"])["datasets"]["data"]
    assert (first["parameters_text"], first["seconds_text"]) == ("1,234,567", "0.5")
    assert second["seconds_text"] == "not recorded"
    assert "rank_text" not in first


def test_a_row_for_each_task_and_split_and_the_mean(make_member: Any) -> None:
    members = [make_member(0.5, task="pets"), make_member(0.7, task="birds", split="val")]
    failed = make_member(None, kind="lst", status="failed", reason="no memory")
    rows = pareto_rows(tasks_of([*members, failed]))
    assert [(one["view"], one["accuracy"]) for one in rows] == [
        ("pets, test", 50.0),
        ("birds, val", 70.0),
        ("mean of the 2 tasks (costs: pets)", 60.0),
    ]


@pytest.mark.parametrize(
    "fields", [{"accuracy": None, "status": "failed"}, {"parameters": None, "seconds": None}]
)
def test_nothing_to_draw(fields: dict[str, Any], make_member: Any) -> None:
    assert pareto_chart(tasks_of([make_member(**fields)]), ["losa"]) is None
