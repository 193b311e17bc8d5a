import numpy as np
import pytest

from losa.cache_format import LosaError, SplitContents
from losa.extract.config import BackboneConfig, DatasetConfig, ExtractConfig
from losa.extract.requested_splits import requested_splits


class Source:
    columns = ()
    notes = ()

    def __init__(self, *splits):
        self.splits = splits

    def contents(self, split):
        keys = [f"{split}/{number}" for number in range(4)]
        return SplitContents(name=split, keys=keys, labels={"label": np.array([0, 0, 1, 1])})


PHOTOS = DatasetConfig(name="photos", kind="python")
VIDEOS = DatasetConfig(name="videos", kind="folder", root="v", media="videos")


def requested(*splits, dataset=PHOTOS, **options):
    config = ExtractConfig(cache="c", dataset=dataset, backbone=BackboneConfig(name="test_vit"), **options)
    return {split.name: list(split.keys) for split in requested_splits(config, Source(*splits))}


def test_all_of_the_source_or_those_that_are_named():
    assert list(requested("a", "b")) == ["a", "b"]
    assert list(requested("a", "b", splits=["b"])) == ["b"]


def test_the_parts_of_the_only_split():
    parts = requested("a", split=0.5)
    assert {name: len(keys) for name, keys in parts.items()} == {"train": 2, "test": 2}
    assert requested("a", split=0.5, splits=["test"]) == {"test": parts["test"]}


def test_a_limit_is_one_of_images_before_their_views():
    splits = requested("a", splits=["a"], limit=2, views=3)
    assert splits["a"] == ["a/0", "a/2"]
    assert len(splits["a-views3"]) == 6


def test_a_split_of_the_source_may_have_the_name_of_views():
    assert requested("a", "a-views3") == {
        "a": [f"a/{number}" for number in range(4)],
        "a-views3": [f"a-views3/{number}" for number in range(4)],
    }


def test_clips_of_videos_are_a_split_of_their_own():
    (keys,) = requested("a", dataset=VIDEOS, clips=2, crops=3).values()
    assert len(keys) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ["c"]}, r"no split 'c'; it has: a, b. Choose with splits, as in splits=\[a\]"),
        ({"splits": ["a-clips2x1"]}, "split 'a-clips2x1': dataset=.* holds no videos to take clips of"),
        ({"split": 0.5}, "has a, b: leave it out"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(LosaError, match=message):
        requested("a", "b", **options)
