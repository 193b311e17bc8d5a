"""Several splits read as one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.adapt.data.split_union import open_union, union_index
from losa.cache_format import Cache, LosaError

VIEWS = 3


@pytest.fixture
def cache(toy_cache: Any, tmp_path: Path) -> Cache:
    """Splits train, val and test, and each image of train and val in further views."""
    return Cache(replace(toy_cache, views=VIEWS, viewed=("train", "val")).write(tmp_path / "cache"))


def in_order(cache: Cache, names: Sequence[str]) -> list[str]:
    """Keys of the splits, each once, where it comes first."""
    return list(dict.fromkeys(key for name in names for key in cache.split(name).keys))


@pytest.mark.parametrize(
    "names",
    [("train", "val"), ("val", "train"), ("val", "train", "val"), ("train", f"train-views{VIEWS}", "test")],
)
def test_images_come_in_the_order_of_the_splits_and_once(cache: Cache, names: tuple[str, ...]) -> None:
    union = open_union(cache, names)
    assert union.keys == in_order(cache, names)
    assert union.name == "+".join(names)
    of_key = {key: label for name in names for key, label in labelled(cache, name)}
    assert union.labels("label").tolist() == [of_key[key] for key in union.keys]


def labelled(cache: Cache, name: str) -> list[tuple[str, int]]:
    split = cache.split(name)
    return list(zip(split.keys, split.labels("label").tolist(), strict=True))


def test_activations_are_those_of_the_splits(cache: Cache) -> None:
    union = open_union(cache, ("val", "train"), sites=("block.01",))
    train, val = (cache.split(name, ["block.01"]) for name in ("train", "val"))
    assert union.sites == ("block.01",)
    found = union.read(np.array([10, 0, 8, 9])).values
    assert np.array_equal(found[[1, 2]], val.read(np.array([0, 8])).values)
    assert np.array_equal(found[[0, 3]], train.read(np.array([1, 0])).values)


def test_views_follow_their_images(cache: Cache) -> None:
    union = open_union(cache, [f"{name}-views{VIEWS}" for name in ("val", "train")], VIEWS)
    images = in_order(cache, ["val", "train"])
    assert union.keys[: len(images)] == images
    by_view = np.array(union.keys).reshape(VIEWS, len(images))
    for view in range(1, VIEWS):
        assert by_view[view].tolist() == [f"{key}?view={view}&crop=0.5&flip=0" for key in images]


def test_one_split_is_opened_as_it_is(cache: Cache) -> None:
    assert open_union(cache, ["val"]).keys == cache.split("val").keys
    assert np.array_equal(union_index(cache, ["val"]), cache.split("val").index)


def test_a_split_that_cannot_hold_so_many_views(cache: Cache) -> None:
    with pytest.raises(LosaError, match="split 'train' does not hold 5 views of each of its images"):
        open_union(cache, ["train", "val"], 5)


def test_a_missing_split(cache: Cache) -> None:
    with pytest.raises(LosaError, match="no split 'vla'"):
        open_union(cache, ["train", "vla"])
