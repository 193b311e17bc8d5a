"""Metadata files follow from the request: those that are damaged or missing are written again."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError, CorruptCache, LosaError, Manifest, SplitContents
from losa.cache_format.stores import StoreName


@pytest.fixture(params=get_args(StoreName))
def store(request):
    """Both stores, for all of these tests."""
    return request.param


@pytest.fixture
def shared(recipe, tiny):
    """With a split whose images the others hold, and an image that could not be read."""
    splits = (*recipe.splits, ("trainval", tiny.TRAINVAL))
    return replace(recipe, splits=splits, invalid=frozenset({tiny.TRAIN[4]}))


def is_shard(path: Path) -> bool:
    return path.name.startswith(("commit.", "shard.")) or path.parent.name in ("codes", "scales")


def stamps(path: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of every file of a shard; the descriptions beside them are metadata files."""
    files = [file for file in path.rglob("*") if is_shard(file) and file.name != "zarr.json"]
    assert files
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def flip_last_bit(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [flip_last_bit, cut, Path.unlink])
def test_each_of_them_is_written_again_and_shards_stay(shared, finished, tiny, caplog, harm):
    path = finished(shared)
    whole, before = tiny.tree(path), stamps(path)
    names = list(Manifest.read(path).files)
    for name in names if harm is cut else names[:: len(names) // 6]:
        harm(path / name)
        caplog.clear()
        with caplog.at_level(logging.WARNING), shared.open(path) as writer:
            assert writer.missing() == []
        (message,) = caplog.messages
        assert message.startswith(f"{path / name}: ")
        assert message.endswith(". It is written again.")
        assert tiny.tree(path) == whole
    assert stamps(path) == before


def test_all_of_them_are_written_again_at_once(shared, finished, tiny, caplog):
    path = finished(shared)
    whole, before = tiny.tree(path), stamps(path)
    names = list(Manifest.read(path).files)
    for name in names:
        (path / name).unlink()
    with caplog.at_level(logging.WARNING), shared.open(path) as writer:
        assert writer.missing() == []
    assert len(caplog.messages) == len(names)
    assert tiny.tree(path) == whole
    assert stamps(path) == before


def test_a_folder_that_was_removed_is_made_again(shared, finished, tiny):
    path = finished(shared)
    whole, before = tiny.tree(path), stamps(path)
    for name in ("constants", "splits", "segments/train/labels", "segments/val/keys"):
        shutil.rmtree(path / f"arrays.{shared.store}" / name)
    shared.write(path)
    assert tiny.tree(path) == whole
    assert stamps(path) == before


def test_the_order_of_the_request_does_not_matter(recipe, finished, tiny):
    """The union was stored first and its parts later; the request names the parts first."""
    whole = replace(recipe, splits=(("trainval", tiny.TRAINVAL),))
    path = finished(whole)
    for name in ("val", "train"):
        with whole.open(path, splits=[recipe.contents(name)]):
            pass
    before = tiny.tree(path)
    cut(path / recipe.array_file("segments/trainval/labels/colour"))
    (path / recipe.array_file("splits/val/index", 2)).unlink()
    splits = [*(recipe.contents(name) for name, _ in recipe.splits), whole.contents("trainval")]
    with whole.open(path, splits=splits) as writer:
        assert writer.missing() == []
    assert tiny.tree(path) == before


def test_a_request_that_does_not_say_all_is_told_what_to_do(shared, finished, tiny):
    path = finished(shared)
    name = shared.array_file("segments/train/labels/species")
    cut(path / name)
    size = Manifest.read(path).files[name].bytes
    before = tiny.tree(path)
    for splits in (["train"], ["train", "val"], ["trainval"]):
        with pytest.raises(CorruptCache) as caught:
            shared.open(path, splits=[shared.contents(split) for split in splits])
        assert str(caught.value).splitlines() == [
            f"{path}: 1 file is damaged:",
            f"  {path / name}: expected {size} bytes, found {size - 1}",
            "They can be written again from the data set: run the losa-extract command that made the cache, "
            "with all its splits (splits=[train,val,trainval]). The shards are kept.",
        ]
    assert tiny.tree(path) == before


def test_other_labels_do_not_take_the_place_of_damaged_ones(recipe, finished, tiny):
    path = finished(recipe)
    cut(path / recipe.array_file("segments/val/labels/colour"))
    before = tiny.tree(path)
    labels = recipe.labels(tiny.VAL)
    labels["colour"][0] += 1
    others = [recipe.contents("train"), SplitContents(name="val", keys=tiny.VAL, labels=labels)]
    with pytest.raises(CorruptCache, match="1 file is damaged"):
        recipe.open(path, splits=others)
    assert tiny.tree(path) == before


def test_other_constants_do_not_take_the_place_of_damaged_ones(recipe, finished, tiny):
    path = finished(recipe)
    (path / recipe.array_file("constants/spread", 2)).unlink()
    before = tiny.tree(path)
    constants = recipe.constants | {"spread": recipe.constants["spread"] + 1}
    with pytest.raises(
        CorruptCache, match="It cannot be written again: this losa writes that file with other"
    ):
        recipe.open(path, constants=constants)
    assert tiny.tree(path) == before


def test_a_split_may_be_added_at_the_same_time(recipe, finished, tiny, tmp_path):
    train = replace(recipe, splits=recipe.splits[:1])
    path = tmp_path / "cache"
    with train.open(path, features=recipe.features, constants=recipe.constants) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    before = stamps(path)
    cut(path / recipe.array_file("segments/train/keys/offsets"))
    recipe.write(path)
    assert Manifest.read(path) == Manifest.read(finished(recipe, "at once"))
    assert before.items() <= stamps(path).items()
    for name, keys in recipe.splits:
        tiny.assert_same_codes(Cache(path).split(name).read(np.arange(len(keys))), recipe.stored(keys))


# --- The manifest -------------------------------------------------------------------------------------


def test_a_manifest_that_is_gone_is_written_again_and_shards_stay(shared, finished, tiny):
    path = finished(shared)
    whole, before = tiny.tree(path), stamps(path)
    (path / "manifest.json").unlink()
    with shared.open(path) as writer:
        assert writer.missing() == []
    assert tiny.tree(path) == whole
    assert stamps(path) == before


def test_without_a_manifest_splits_may_come_back_one_by_one(recipe, finished, tiny):
    path = finished(recipe)
    before = stamps(path)
    (path / "manifest.json").unlink()
    for name, keys in recipe.splits:
        with recipe.open(path, splits=[recipe.contents(name)]) as writer:
            assert writer.missing() == []
        tiny.assert_same_codes(Cache(path).split(name).read(np.arange(len(keys))), recipe.stored(keys))
    assert stamps(path) == before


@pytest.mark.parametrize("change", [{"codec": "float16"}, {"seed": 1}, {"sites": ("block.00", "block.02")}])
def test_shards_of_other_features_without_a_manifest_are_refused(recipe, finished, tiny, change):
    path = finished(recipe)
    (path / "manifest.json").unlink()
    before = tiny.tree(path)
    with pytest.raises(CacheError) as caught:
        replace(recipe, **change).open(path)
    record = min(path.rglob("commit.*.json"), key=str)
    assert str(caught.value) == (
        f"{path} holds shards but no manifest.json, and {record} is of other features than those requested: "
        "move the folder away"
    )
    assert tiny.tree(path) == before


def test_the_other_store_does_not_take_the_folder(recipe, finished, tiny):
    path = finished(recipe)
    (path / "manifest.json").unlink()
    before = tiny.tree(path)
    other = "hdf5" if recipe.store == "zarr" else "zarr"
    with pytest.raises(
        CacheError, match=rf"is not a cache and not empty \(it holds 'arrays.{recipe.store}'\)"
    ):
        replace(recipe, store=other).open(path)
    assert tiny.tree(path) == before


@pytest.mark.parametrize("harm", [flip_last_bit, lambda file: file.write_bytes(file.read_bytes()[:200])])
def test_a_damaged_manifest_is_nobodys_to_overwrite(recipe, finished, tiny, harm):
    path = finished(recipe)
    data = (path / "manifest.json").read_bytes().rstrip()
    (path / "manifest.json").write_bytes(data)
    harm(path / "manifest.json")
    before = tiny.tree(path)
    for attempt in (recipe.open, Cache):
        with pytest.raises(LosaError, match=r"manifest\.json: "):
            attempt(path)
    assert tiny.tree(path) == before
