import json

import altair as alt
import pytest

from losa.pipelines.report.charts.vega import COLOURS, SHAPES, by_kind, choice, named_data, specification


def test_no_two_kinds_look_the_same() -> None:
    kinds = [f"kind {number}" for number in range(len(COLOURS) * len(SHAPES))]
    colour, shape = (each.to_dict()["scale"] for each in by_kind(kinds))
    assert colour["domain"] == shape["domain"] == kinds
    assert len(set(zip(colour["range"], shape["range"], strict=True))) == len(kinds)


@pytest.mark.parametrize(("options", "is_menu"), [({"a": "A"}, False), ({"a": "A", "b": "B"}, True)])
def test_a_menu_only_where_there_is_a_choice(options: dict[str, str], is_menu: bool) -> None:
    chart = alt.Chart(named_data()).mark_point().add_params(choice("axis", "against", options))
    (found,) = specification(chart, [], height=100)["params"]
    assert found["value"] == "a"
    assert ("bind" in found) == is_menu


def test_a_specification_holds_its_data_and_names_no_address_but_that_of_its_schema() -> None:
    spec = specification(alt.Chart(named_data()).mark_point().encode(x="x:Q"), [{"x": 1}], height=100)
    assert spec["datasets"] == {"data": [{"x": 1}]}
    del spec["$schema"]
    assert "://" not in json.dumps(spec)
