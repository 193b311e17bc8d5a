import numpy as np

from losa.cache_format import SplitContents
from losa.extract.limit import limited


def contents(labels):
    return SplitContents(
        name="all",
        keys=[f"{number}.png" for number in range(len(labels))],
        labels={"label": np.array(labels, np.int64)},
        rule="r",
    )


def rows(limit, labels):
    chosen = limited(contents(labels), limit)
    found = [int(key.removesuffix(".png")) for key in chosen.keys]
    assert chosen.labels["label"].tolist() == [labels[row] for row in found]
    assert (chosen.name, chosen.rule) == ("all", "r")
    return found


def test_all_classes_are_in_it_and_the_order_is_kept():
    labels = [0] * 5 + [1] * 5 + [2] * 2
    assert rows(3, labels) == [0, 5, 10]
    assert rows(7, labels) == [0, 1, 2, 5, 6, 10, 11]
    assert rows(8, labels) == [0, 1, 2, 5, 6, 7, 10, 11]
    assert rows(12, labels) == list(range(12))
    assert rows(99, labels) == list(range(12))


def test_fewer_than_there_are_classes():
    assert rows(2, [3, 3, 2, 1, 0]) == [0, 2]


def test_images_without_a_label_are_a_class():
    assert rows(2, [-1, -1, -1, 4]) == [0, 3]


def test_a_larger_limit_holds_the_images_of_a_smaller_one():
    labels = np.random.default_rng(0).integers(0, 7, 100).tolist()
    before = set()
    for limit in range(1, 101):
        chosen = set(rows(limit, labels))
        assert len(chosen) == limit
        assert before < chosen
        before = chosen


def test_without_label_columns():
    split = SplitContents(name="all", keys=["a", "b", "c"])
    assert list(limited(split, 2).keys) == ["a", "b"]
