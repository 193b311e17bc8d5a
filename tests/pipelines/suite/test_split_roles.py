"""The splits of a task by what they are for."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from losa.cache_format import LabelColumn, LosaError, SplitContents
from losa.pipelines.suite.split_roles import contents_of, difference_of_both, roles_of

LISTS = {"train800": "abcd", "val200": "ef", "train800val200": "abcdef", "test": "gh"}


class Source:
    """A data set of one column; a key for each letter."""

    columns = (LabelColumn(name="label", num_classes=2),)
    notes = ()

    def __init__(self, splits: Mapping[str, Sequence[str]]) -> None:
        self._contents = splits
        self.splits = tuple(splits)

    def contents(self, split: str) -> SplitContents:
        keys = list(self._contents[split])
        return SplitContents(name=split, keys=keys, labels={"label": np.arange(len(keys)) % 2})

    def read(self, key: str) -> bytes:
        raise NotImplementedError(key)


def test_the_lists_of_vtab() -> None:
    roles = roles_of(Source(LISTS), needs_lists=True)
    assert (roles.fit, roles.held_out, roles.both) == ("train800", "val200", ("train800val200",))
    assert roles.extracted == ["train800val200", "train800", "val200"]
    assert set(contents_of(Source(LISTS), roles)) == set(LISTS)


def test_a_missing_list_is_named() -> None:
    lists = {name: keys for name, keys in LISTS.items() if name != "val200"}
    with pytest.raises(LosaError, match=r"^val200.txt missing: .*, found train800, train800val200, test$"):
        roles_of(Source(lists), needs_lists=True)


def test_a_validation_split_is_trained_on_in_the_end() -> None:
    splits = {"train": "abcd", "val": "ef", "test": "gh"}
    roles = roles_of(Source(splits), needs_lists=False)
    assert (roles.fit, roles.held_out, roles.both, roles.parts) == ("train", "val", ("train", "val"), None)


def test_without_one_a_tenth_of_train_is_held_out() -> None:
    source = Source({"train": [f"{number:02}" for number in range(40)], "test": "gh"})
    roles = roles_of(source, needs_lists=False)
    contents = contents_of(source, roles)
    assert roles.cut_from == "train"
    assert [len(contents[name].keys) for name in (roles.fit, roles.held_out, "test")] == [36, 4, 2]
    assert difference_of_both(contents, roles) is None


@pytest.mark.parametrize("splits", [{"train": "ab"}, {"all": "ab"}, {"val": "a", "test": "b"}])
def test_without_train_and_test_there_is_no_protocol(splits: Mapping[str, str]) -> None:
    with pytest.raises(LosaError, match="expected splits train, test and, if there is one, val"):
        roles_of(Source(splits), needs_lists=False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": "gb"}, "1 image of train800val200 is also in test, such as b"),
        ({"train800val200": "abcdefg"}, "1 image of train800val200 is also in test, such as g"),
        ({"val200": "ae"}, "1 image of train800 is also in val200, such as a"),
    ],
)
def test_images_with_two_uses_are_refused(changed: Mapping[str, str], message: str) -> None:
    source = Source(LISTS | changed)
    with pytest.raises(LosaError, match=message):
        contents_of(source, roles_of(source, needs_lists=True))


def test_another_union_is_told() -> None:
    source = Source(LISTS | {"train800val200": "abcdexy"})
    roles = roles_of(source, needs_lists=True)
    assert difference_of_both(contents_of(source, roles), roles) == (
        "train800val200 is not train800 and val200 together: 2 of its images are in neither, 1 of theirs are "
        "not in it"
    )
