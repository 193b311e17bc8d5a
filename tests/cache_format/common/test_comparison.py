from losa.cache_format import LabelColumn
from losa.cache_format.common.comparison import differences, listed
from losa.cache_format.errors import Difference


def test_a_field_on_one_side_only_differs_from_nothing():
    assert differences({"a": 1, "b": {"c": None}}, {"a": 1}) == [Difference("b.c", None, "nothing")]
    assert differences({}, {"x": LabelColumn(name="l", num_classes=2)})[1:3] == [
        Difference("x.kind", "nothing", "class"),
        Difference("x.num_classes", "nothing", 2),
    ]


def test_differences_are_listed_a_line_each():
    found = differences({"a": 1, "b": 2}, {"a": 3, "b": 4})
    assert listed(found) == "  a: expected 1, found 3\n  b: expected 2, found 4"
