from typing import Any

import numpy as np
import pytest

from losa.cache_format.positions import as_positions

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.mark.parametrize(
    "chosen",
    [
        [4, 0, 4],
        (4, 0, 4),
        [np.int64(4), np.int64(0), np.int64(4)],
        np.array([4, 0, 4]),
        np.array([4, 0, 4], np.int16),
        np.array([4, 0, 4], np.uint64),
    ],
    ids=repr,
)
def test_integers(chosen: Any) -> None:
    found = as_positions(chosen, 5)
    assert found.dtype == np.int64
    assert found.tolist() == [4, 0, 4]


@pytest.mark.parametrize(
    "part", [slice(None), slice(1, 3), slice(-2, None), slice(None, None, -2), slice(9, 12)]
)
def test_slices_are_those_of_a_list(part: slice) -> None:
    assert as_positions(part, 5).tolist() == list(range(5))[part]


@pytest.mark.parametrize(
    "chosen", [[], (), range(0), np.array([]), np.array([], np.int64), slice(2, 2)], ids=repr
)
def test_none(chosen: Any) -> None:
    assert as_positions(chosen, 5).tolist() == []
    assert as_positions(chosen, 5).dtype == np.int64


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ([0.0, 1.0], r"float64\[2\]"),
        ([True, False, True], r"bool\[3\]; np.flatnonzero makes positions of a mask"),
        ([[0, 1]], r"int64\[1, 2\]"),
        (3, r"int64\[\]"),
        (["a"], r"<U1\[1\]"),
    ],
)
def test_anything_else_is_refused(chosen: Any, found: str) -> None:
    with pytest.raises(
        TypeError, match=f"expected positions of images, a slice or a list of integers, found {found}"
    ):
        as_positions(chosen, 5)


@pytest.mark.parametrize("chosen", [[5], [-1, 0], np.array([2**63], np.uint64)], ids=repr)
def test_positions_out_of_range_are_refused(chosen: Any) -> None:
    with pytest.raises(IndexError, match="expected 0 to 4"):
        as_positions(chosen, 5)
