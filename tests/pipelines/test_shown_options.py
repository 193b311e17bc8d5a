from typing import Any

import pytest

from losa.pipelines.shown_options import shown, varying_options


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (3e-3, "0.003"), (["embed", 2], "[embed,2]"), ("cls", "cls"), (8, "8")],
)
def test_options_are_shown_as_they_are_typed(value: Any, text: str) -> None:
    assert shown(value) == shown(value, short=False) == text


def test_a_number_has_all_digits_where_it_matters() -> None:
    assert (shown(1 / 3), shown(1 / 3, short=False)) == ("0.333333", "0.3333333333333333")
    assert shown(0.0, short=False) == shown(0, short=False)


def test_options_that_cannot_change_a_result_do_not_count() -> None:
    members: list[dict[str, Any]] = [
        {"norm": "layer", "dropout": 0.0, "heads": 4, "eval_split": "test", "out": "a", "threads": 1},
        {"norm": "none", "dropout": 1e-9, "heads": 4, "eval_split": "val", "out": "b", "threads": 2},
        {"norm": "none", "rank": 2},
    ]
    assert varying_options(members) == ["norm", "dropout", "eval_split"]
