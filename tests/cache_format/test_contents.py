import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losa.cache_format import LabelColumn, LosaError, SplitContents
from losa.cache_format.common.hashes import hash_keys
from losa.cache_format.contents import StoredSegment, place
from losa.cache_format.manifest import Segment

SPLITS = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True), min_size=1, max_size=4
)


def split(name: str, keys: str, labels: list[int] | None = None) -> SplitContents:
    columns = {} if labels is None else {"label": np.array(labels, np.int64)}
    return SplitContents(name=name, keys=list(keys), labels=columns)


def stored_segment(name: str, number: int, keys: str, labels: list[int] | None = None) -> StoredSegment:
    segment = Segment(
        name=name,
        number=number,
        images=len(keys),
        keys_sha256=hash_keys(keys),
        rows_per_shard=2,
        labels_sha256={"label": "00" * 32},
    )
    column = np.array(labels or [-1] * len(keys), np.int64)
    return StoredSegment(segment=segment, keys=list(keys), labels={"label": column})


def placed(splits, stored=()):
    return place(
        splits,
        columns=[LabelColumn(name="label", num_classes=300)],
        stored=list(stored),
        rows_per_shard=2,
    )


@given(SPLITS, st.lists(st.sampled_from("efghxyz"), max_size=5, unique=True))
@settings(deadline=None)
def test_every_image_is_stored_once_and_every_split_finds_its_own_in_order(splits, stored):
    contents = [
        split(f"split{number}", keys, [ord(key) for key in keys]) for number, keys in enumerate(splits)
    ]
    before = [stored_segment("old", 5, stored, [ord(key) for key in stored])] if stored else []
    placement = placed(contents, before)
    laid_out = {entry.segment.number: entry.keys for entry in (*before, *placement.segments)}
    assert list(laid_out) == sorted(laid_out)
    everything = [key for keys in laid_out.values() for key in keys]
    assert everything == list(dict.fromkeys([*stored, *(key for keys in splits for key in keys)]))
    for content in contents:
        index = placement.indices[content.name]
        assert (index.dtype, index.shape) == (np.int64, (len(content.keys), 2))
        assert [laid_out[number][row] for number, row in index.tolist()] == content.keys
    for new in placement.segments:
        assert new.segment.images == len(new.keys) > 0
        assert new.segment.keys_sha256 == hash_keys(new.keys)
        assert new.segment.rows_per_shard == min(2, len(new.keys))
        assert new.labels["label"].tolist() == [ord(key) for key in new.keys]


def test_a_split_of_known_images_needs_no_segment():
    placement = placed([split("train", "abc"), split("val", "de"), split("trainval", "dacbe")])
    assert [new.segment.name for new in placement.segments] == ["train", "val"]
    assert placement.indices["trainval"].tolist() == [[1, 0], [0, 0], [0, 2], [0, 1], [1, 1]]


def test_segments_are_named_after_splits_and_names_are_never_taken_twice():
    stored = [stored_segment("a", 0, "pq"), stored_segment("a.2", 1, "r")]
    placement = placed([split("b", "xy"), split("a", "z")], stored)
    assert [new.segment.name for new in placement.segments] == ["b", "a.3"]
    assert placement.indices["a"].tolist() == [[3, 0]]


def test_a_dropped_segment_leaves_its_number_to_nobody_before_the_last():
    placement = placed([split("b", "xp")], [stored_segment("a", 7, "pq")])
    assert [new.segment.number for new in placement.segments] == [8]
    assert placement.indices["b"].tolist() == [[8, 0], [7, 0]]


def test_images_without_labels_get_minus_one_or_the_label_another_split_gives_them():
    placement = placed([split("test", "abc"), split("train", "bd", [7, 8])])
    assert [new.labels["label"].tolist() for new in placement.segments] == [[-1, 7, -1], [8]]
    assert [new.labels["label"].dtype for new in placement.segments] == [np.int64, np.int64]


@pytest.mark.parametrize("order", [1, -1])
def test_minus_one_beside_a_label_is_no_contradiction(order):
    (new,) = placed([split("a", "pq", [-1, 7]), split("b", "qp", [7, 3])][::order]).segments
    assert dict(zip(new.keys, new.labels["label"].tolist(), strict=True)) == {"p": 3, "q": 7}


def test_two_labels_for_one_image_are_refused():
    with pytest.raises(LosaError) as caught:
        placed([split("train", "ab", [0, 1]), split("val", "cb", [0, 2])])
    assert str(caught.value) == "image 'b' has label 2 in split 'val', but 1 in another split"
    with pytest.raises(LosaError, match="image 'b' has label 2 in split 'val', but 9 in another split"):
        placed([split("val", "b", [2])], [stored_segment("old", 0, "ab", [0, 9])])


def test_an_undeclared_column_is_a_programming_error():
    with pytest.raises(KeyError, match="colour"):
        placed([SplitContents(name="train", keys=["a"], labels={"colour": np.zeros(1, np.int64)})])


def test_an_empty_split_is_refused():
    with pytest.raises(LosaError, match=r"^split 'train' is empty: there is nothing to extract$"):
        split("train", "")


def test_a_key_listed_twice_is_refused():
    with pytest.raises(LosaError, match=r"^split 'train': image 'b' is listed twice$"):
        split("train", "abcb")


def test_labels_of_another_length_are_refused():
    with pytest.raises(LosaError, match=r"^split 'train': 3 images, but 2 labels in column 'label'$"):
        split("train", "abc", [1, 2])


def test_a_file_name_that_is_not_utf8_is_named():
    with pytest.raises(LosaError, match=r"the file name 'caf\\udce9.png' is not UTF-8; rename it"):
        SplitContents(name="train", keys=["caf\udce9.png"])


@pytest.mark.parametrize("name", ["my list", "", "../up", "a" * 101])
def test_a_split_has_the_name_of_a_folder(name):
    with pytest.raises(LosaError, match="a name has at most 100 letters, digits"):
        SplitContents(name=name, keys=["a.png"])


@pytest.mark.parametrize("labels", [[0, 300], [-2, 0]])
def test_a_label_that_its_column_does_not_have_is_refused(labels):
    message = r"column 'label', which has 300 classes: expected -1 \(none\) to 299"
    with pytest.raises(LosaError, match=message):
        placed([split("train", "ab", labels)])
