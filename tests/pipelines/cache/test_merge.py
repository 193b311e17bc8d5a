from dataclasses import replace

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError, CacheInUse, CorruptCache, IdentityMismatch, IncompleteCache
from losa.cache_format.contents import SplitContents
from losa.cache_format.storage.lock import FileLock
from losa.pipelines.cache.merge import merge_caches


def quiet(done: int, total: int) -> None:
    assert done <= total


@pytest.fixture
def recipe(tiny):
    """A codec without calibration, so that caches of different images have the same identity."""
    return tiny.Recipe(codec="float16")


def check(tiny, recipe, path) -> None:
    cache = Cache(path)
    for name, keys in recipe.splits:
        split = cache.split(name)
        assert split.keys == list(keys)
        tiny.assert_same_codes(split.read(np.arange(len(split))), recipe.stored(keys))
        for column, labels in recipe.labels(keys).items():
            np.testing.assert_array_equal(split.labels(column), labels)


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_other_splits(tiny, recipe, tmp_path, store):
    recipe = replace(recipe, store=store)
    for name, keys in recipe.splits:
        replace(recipe, splits=((name, keys),)).write(tmp_path / name)
    done = merge_caches([Cache(tmp_path / "train"), Cache(tmp_path / "val")], tmp_path / "both", quiet)
    assert (done.copied, done.missing) == (5, 0)
    check(tiny, recipe, tmp_path / "both")
    recipe.write(tmp_path / "direct")
    assert tiny.tree(tmp_path / "both") == tiny.tree(tmp_path / "direct")


def test_other_shards_of_the_same_splits(tiny, recipe, tmp_path):
    paths = [recipe.write(tmp_path / "a"), recipe.write(tmp_path / "b")]
    for path, gone in zip(paths, ([0, 1], [1, 2]), strict=True):
        for shard in gone:
            (path / f"arrays.zarr/segments/train/codes/commit.{shard}.json").unlink()
    done = merge_caches([Cache(path) for path in paths], tmp_path / "both", quiet)
    assert (done.copied, done.missing) == (4, 1)
    with pytest.raises(IncompleteCache, match=r"1 of 3 shards"):
        Cache(tmp_path / "both").split("train")
    recipe.write(tmp_path / "both")
    check(tiny, recipe, tmp_path / "both")


def test_splits_that_share_images(tiny, recipe, tmp_path):
    """Images in both sources are stored once if their whole segments are the same."""
    replace(recipe, splits=(("trainval", tiny.TRAINVAL),)).write(tmp_path / "a")
    replace(recipe, splits=(("val", tiny.VAL),)).write(tmp_path / "b")
    merge_caches([Cache(tmp_path / "a"), Cache(tmp_path / "b")], tmp_path / "both", quiet)
    both = Cache(tmp_path / "both")
    assert [segment.name for segment in both.manifest.segments] == ["trainval"]
    check(tiny, replace(recipe, splits=(("trainval", tiny.TRAINVAL), ("val", tiny.VAL))), tmp_path / "both")


def test_the_rule_of_a_split_is_kept(tiny, recipe, tmp_path):
    for name, keys in recipe.splits:
        split = SplitContents(name=name, keys=keys, labels=recipe.labels(keys), rule=f"split of {name}")
        with recipe.open(tmp_path / name, splits=[split]) as writer:
            for segment, shard in writer.missing():
                recipe.write_shard(writer, segment, shard)
    merge_caches([Cache(tmp_path / "train"), Cache(tmp_path / "val")], tmp_path / "both", quiet)
    rules = {record.name: record.rule for record in Cache(tmp_path / "both").manifest.splits}
    assert rules == {"train": "split of train", "val": "split of val"}


def test_segments_of_one_name(tiny, recipe, tmp_path):
    replace(recipe, splits=(("train", tiny.TRAIN[:4]),)).write(tmp_path / "a")
    other = replace(recipe, splits=(("train", tiny.TRAIN[:4]), ("rest", tiny.TRAIN)))
    other.write(tmp_path / "b")
    third = replace(recipe, splits=(("val", tiny.VAL),)).write(tmp_path / "c")
    merge_caches([Cache(tmp_path / "a"), Cache(tmp_path / "b"), Cache(third)], tmp_path / "all", quiet)
    check(tiny, replace(recipe, splits=(*other.splits, ("val", tiny.VAL))), tmp_path / "all")


def test_refusals(tiny, recipe, tmp_path):
    a = Cache(recipe.write(tmp_path / "a"))
    b = Cache(tiny.Recipe().write(tmp_path / "b"))
    with pytest.raises(IdentityMismatch, match="codec"):
        merge_caches([a, b], tmp_path / "both", quiet)
    c = Cache(replace(recipe, splits=(("train", tiny.TRAIN[1:]),)).write(tmp_path / "c"))
    with pytest.raises(CacheError, match="other images"):
        merge_caches([a, c], tmp_path / "both", quiet)
    assert not (tmp_path / "both").exists()


def test_a_damaged_shard_is_not_copied(tiny, recipe, tmp_path):
    path = recipe.write(tmp_path / "a")
    tiny.flip(path / "arrays.zarr/segments/train/codes/c.1.0.0.0", 7, 0)
    with pytest.raises(CorruptCache, match="losa-cache repair"):
        merge_caches([Cache(path)], tmp_path / "copy", quiet)
    assert (tmp_path / "copy/arrays.zarr/segments/train/codes/commit.0.json").exists()
    assert not (tmp_path / "copy/arrays.zarr/segments/train/codes/commit.1.json").exists()


def test_the_command(tiny, recipe, command, tmp_path):
    for name, keys in recipe.splits:
        replace(recipe, splits=((name, keys),)).write(tmp_path / name)
    told = command(tmp_path, "losa-cache", "merge", "train", "val", "--to", "both")
    assert (told.returncode, told.stdout) == (0, "both: 5 shards copied\n"), told.stderr
    again = command(tmp_path, "losa-cache", "merge", "train", "val", "--to", "both")
    assert again.stdout == "both: 0 shards copied\n"


def test_a_writer_that_was_taken_for_dead_copies_nothing(tiny, recipe, tmp_path, monkeypatch):
    path = recipe.write(tmp_path / "a")
    merge_caches([Cache(path)], tmp_path / "both", quiet)
    (tmp_path / "both/arrays.zarr/segments/val/codes/commit.0.json").unlink()
    before = tiny.tree(tmp_path / "both")

    def lost(self) -> None:
        raise CacheInUse("taken over")

    with pytest.raises(CacheInUse):
        merge_caches(
            [Cache(path)], tmp_path / "both", lambda done, total: monkeypatch.setattr(FileLock, "check", lost)
        )
    assert tiny.tree(tmp_path / "both") == before
