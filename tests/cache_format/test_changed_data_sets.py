"""A data set that has changed since its cache was begun: some images more or fewer, or other classes."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from losa.cache_format import Cache, IdentityMismatch, LabelColumn, Manifest, SplitContents
from losa.cache_format.stores import StoreName
from losa.cache_format.survey import SplitChange, has_shards, survey_cache

NEW = "train/99.jpg"


@pytest.fixture(params=get_args(StoreName))
def store(request):
    """Both stores, for all of these tests."""
    return request.param


def changes(tiny):
    return {
        "order": tiny.TRAIN[::-1],
        "one more": (*tiny.TRAIN, NEW),
        "one fewer": tiny.TRAIN[1:],
        "another": (*tiny.TRAIN[:2], NEW, *tiny.TRAIN[3:]),
    }


def stored_bytes(path: Path) -> dict[str, bytes]:
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def of_split(recipe, name, keys):
    return SplitContents(name=name, keys=keys, labels=recipe.labels(keys))


def complete(recipe, path, **request):
    with recipe.open(path, **request) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)


@pytest.mark.parametrize("change", ["order", "one more", "one fewer", "another"])
def test_a_split_follows_its_data_set_and_what_is_stored_is_kept(recipe, finished, tiny, change):
    path = finished(recipe)
    before = stored_bytes(path / recipe.files(path, "train").store.root / "segments")
    keys = changes(tiny)[change]
    with recipe.open(path, splits=[of_split(recipe, "train", keys)]) as writer:
        added = [NEW] if NEW in keys else []
        assert [(segment.name, segment.images) for segment, _ in writer.missing()] == [
            ("train.2", 1) for _ in added
        ]
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    after = stored_bytes(path / recipe.files(path, "train").store.root / "segments")
    assert {name: after[name] for name in before} == before
    cache = Cache(path)
    assert [record.name for record in cache.manifest.splits] == ["train", "val"]
    split = cache.split("train")
    assert list(split.keys) == list(keys)
    np.testing.assert_array_equal(split.labels("species"), recipe.labels(keys)["species"])
    expected = recipe.stored(keys)
    np.testing.assert_array_equal(split.read(np.arange(len(keys))).values, expected.values)


def test_the_change_is_counted(recipe, finished, tiny):
    path = finished(recipe)
    keys = (*tiny.TRAIN[2:], NEW)
    request = recipe.request(splits=[of_split(recipe, "train", keys)])
    assert survey_cache(path, request).changes == {"train": SplitChange(added=1, left=2)}
    assert survey_cache(path, recipe.request()).changes == {}


def test_images_that_left_come_back_without_being_extracted_again(recipe, finished, tiny):
    path = finished(recipe)
    whole = stored_bytes(path)
    complete(recipe, path, splits=[of_split(recipe, "train", tiny.TRAIN[1:])])
    assert len(Cache(path).split("train").keys) == len(tiny.TRAIN) - 1
    with recipe.open(path) as writer:
        assert writer.missing() == []
    assert stored_bytes(path) == whole


def test_another_data_set_is_refused(recipe, finished, tiny):
    path = finished(recipe)
    whole = stored_bytes(path)
    keys = (*tiny.TRAIN[:3], *(f"train/{number}.jpg" for number in range(100, 104)))
    with pytest.raises(IdentityMismatch) as caught:
        recipe.open(path, splits=[of_split(recipe, "train", keys)])
    assert "found '3 of the 7 images in the cache'" in str(caught.value)
    assert stored_bytes(path) == whole


@pytest.mark.parametrize("keys", ["one more", "order"])
def test_killed_before_the_manifest_it_is_resumed(recipe, finished, tiny, monkeypatch, keys):
    path = finished(recipe)
    keys = changes(tiny)[keys]
    changed = [of_split(recipe, "train", keys)]

    def killed(self, cache):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            recipe.open(path, splits=changed)
    complete(recipe, path, splits=changed)
    cache = Cache(path)
    assert list(cache.split("train").keys) == list(keys)
    assert len(cache.split("train").read(np.arange(len(keys))).values) == len(keys)


def test_or_it_goes_back_to_what_it_was(recipe, finished, tiny, monkeypatch):
    path = finished(recipe)
    whole = stored_bytes(path)
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", lambda self, cache: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recipe.open(path, splits=[of_split(recipe, "train", tiny.TRAIN[::-1])])
    recipe.write(path)
    assert stored_bytes(path) == whole


class TestClasses:
    def test_new_names_come_after_the_stored_ones(self, recipe, finished, tiny):
        path = finished(recipe)
        names = ("aphid", "ant", "bee", "cat", "dog", "elk")
        keys = (*tiny.TRAIN, NEW)
        labels = recipe.labels(keys)
        # As the request numbers them: all names but the first have moved by one.
        labels["species"] = np.where(labels["species"] < 0, -1, labels["species"] + 1)
        labels["species"][-1] = 0
        columns = [LabelColumn(name="species", num_classes=6, classes=names), recipe.columns[1]]
        with recipe.open(
            path, labels=columns, splits=[SplitContents(name="train", keys=keys, labels=labels)]
        ) as writer:
            assert writer.manifest.labels[0].classes == ("ant", "bee", "cat", "dog", "elk", "aphid")
            for segment, shard in writer.missing():
                recipe.write_shard(writer, segment, shard)
        found = Cache(path).split("train").labels("species")
        np.testing.assert_array_equal(found[:-1], recipe.labels(tiny.TRAIN)["species"])
        assert found[-1] == 5

    def test_more_classes_without_names(self, recipe, finished):
        path = finished(recipe)
        columns = [recipe.columns[0], LabelColumn(name="colour", num_classes=301)]
        with recipe.open(path, labels=columns) as writer:
            assert writer.manifest.labels[1].num_classes == 301
        with recipe.open(path) as writer:  # fewer: the labels that are stored still need them
            assert writer.manifest.labels[1].num_classes == 301

    def test_names_where_there_were_none_are_refused(self, recipe, finished):
        path = finished(recipe)
        named = LabelColumn(name="colour", num_classes=1, classes=("red",))
        with pytest.raises(IdentityMismatch, match=r"labels\.colour\.classes"):
            recipe.open(path, labels=[recipe.columns[0], named])


class TestBegunOnly:
    """A cache without a shard commits to nothing."""

    def test_it_is_begun_anew_for_whatever_is_requested(self, recipe, tmp_path, tiny):
        path = tmp_path / "cache"
        with recipe.open(path):
            pass
        assert not has_shards(path)
        other = replace(
            recipe, codec="float16", sites=("block.01",), splits=(("test", tiny.VAL),), rows_per_shard=2
        )
        other.write(path)
        again = other.write(tmp_path / "again")
        assert stored_bytes(path) == stored_bytes(again)

    def test_even_in_the_other_store(self, recipe, tmp_path):
        path = tmp_path / "cache"
        with recipe.open(path):
            pass
        other = replace(recipe, store="hdf5" if recipe.store == "zarr" else "zarr")
        other.write(path)
        assert stored_bytes(path) == stored_bytes(other.write(tmp_path / "again"))

    def test_even_if_its_manifest_is_damaged(self, recipe, tmp_path):
        path = tmp_path / "cache"
        with recipe.open(path):
            pass
        (path / "manifest.json").write_text("{")
        recipe.write(path)
        assert stored_bytes(path) == stored_bytes(recipe.write(tmp_path / "again"))

    def test_one_shard_commits_it(self, recipe, tmp_path):
        path = tmp_path / "cache"
        with recipe.open(path) as writer:
            recipe.write_shard(writer, *writer.missing()[-1])
        assert has_shards(path)
        with pytest.raises(IdentityMismatch):
            replace(recipe, codec="float16").open(path)
