from pathlib import Path

import numpy as np
import pytest

from losa.cache_format import LosaError
from losa.extract.sources.labels import in_order, named_labels, numbered_column

PLACE = Path("list.txt")


def column(labels, num_classes=None):
    return numbered_column("label", np.array(labels, np.int64), num_classes, PLACE)


@pytest.mark.parametrize(("labels", "classes"), [([0, 2], 3), ([-1, -1], 0), ([], 0), ([0, 1018], 1019)])
def test_the_number_of_classes_is_the_highest_label_and_one_more(labels, classes):
    assert column(labels).num_classes == classes


def test_a_label_space_far_larger_than_what_occurs_is_refused_unless_told():
    assert column([0, 1019]).num_classes == 1020
    with pytest.raises(LosaError, match="the highest label is 1,020, but only 2 different ones occur"):
        column([0, 1020])
    assert column([0, 1020], 1021).num_classes == 1021
    with pytest.raises(LosaError, match=r"label is 1020, but dataset\.num_classes=1020 allows only"):
        column([0, 1020], 1020)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "09"], ("09", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["\u0662", "10"], ("10", "\u0662")),
        ([], ()),
    ],
)
def test_names_are_in_the_order_of_their_numbers_if_all_are_numbers(names, order):
    assert in_order(names) == order


def test_no_name_is_no_label():
    assert named_labels(["b", None, "a"], ("a", "b")).tolist() == [1, -1, 0]
