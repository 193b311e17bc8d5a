from dataclasses import replace

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError, CacheInUse
from losa.pipelines.cache.drop import drop_splits


def names(path):
    return {entry.name for entry in path.iterdir()}


@pytest.fixture(params=["zarr", "hdf5"])
def recipe(tiny, request):
    splits = (("train", tiny.TRAIN), ("val", tiny.VAL), ("trainval", tiny.TRAINVAL))
    return tiny.Recipe(store=request.param, splits=splits)


def test_images_that_another_split_has_stay(tiny, recipe, tmp_path):
    path = recipe.write(tmp_path / "a")
    drop_splits(path, ["val"])
    split = Cache(path).split("trainval")
    tiny.assert_same_codes(split.read(np.arange(11)), recipe.stored(tiny.TRAINVAL))
    with pytest.raises(CacheError, match="it has: train, trainval"):
        Cache(path).split("val")


def test_segments_that_nobody_needs_go_and_come_again(tiny, recipe, tmp_path):
    path = recipe.write(tmp_path / "a")
    arrays = path / Cache(path).manifest.arrays
    drop_splits(path, ["train", "trainval"])
    assert names(arrays / "segments") - {"zarr.json"} == {"val"}
    assert names(arrays / "splits") - {"zarr.json"} == {"val"}
    tiny.assert_same_codes(Cache(path).split("val").read(np.arange(4)), recipe.stored(tiny.VAL))
    recipe.write(path)
    for name, keys in recipe.splits:
        tiny.assert_same_codes(Cache(path).split(name).read(np.arange(len(keys))), recipe.stored(keys))


def test_refusals(tiny, recipe, tmp_path):
    path = recipe.write(tmp_path / "a")
    with pytest.raises(CacheError, match="no split 'vall'"):
        drop_splits(path, ["vall"])
    with pytest.raises(CacheError, match="no split would be left"):
        drop_splits(path, ["train", "val", "trainval"])
    with recipe.open(path), pytest.raises(CacheInUse):
        drop_splits(path, ["val"])


def test_the_command(tiny, command, tmp_path, monkeypatch):
    recipe = replace(tiny.Recipe(), splits=(("train", tiny.TRAIN), ("val", tiny.VAL)))
    recipe.write(tmp_path / "a")
    told = command(tmp_path, "losa-cache", "drop", "a", "val", "--yes")
    assert (told.returncode, told.stdout) == (0, "a: val dropped; segments removed: val\n")
    unclear = command(tmp_path, "losa-cache", "drop", "a")
    assert (unclear.returncode, unclear.stderr) == (
        1,
        "error: name the splits to drop, or --all for the whole cache\n",
    )
    gone = command(tmp_path, "losa-cache", "drop", "a", "--all", "--yes")
    assert (gone.returncode, gone.stdout) == (0, "a is removed\n")
    assert not (tmp_path / "a").exists()


def test_nobody_can_be_asked(tiny, command, tmp_path, monkeypatch):
    path = tiny.Recipe().write(tmp_path / "a")
    monkeypatch.setattr("sys.stdin", None)
    told = command(tmp_path, "losa-cache", "drop", "a", "--all")
    assert told.returncode == 1
    assert told.stderr == "error: nobody can answer the question: --yes goes on without it\n"
    assert Cache(path).manifest


def test_what_is_not_the_caches_stays(tiny, command, tmp_path):
    path = tiny.Recipe().write(tmp_path / "a")
    (path / "thesis.txt").write_text("mine")
    assert command(tmp_path, "losa-cache", "drop", "a", "--all", "--yes").returncode == 0
    assert names(path) == {"thesis.txt"}


@pytest.mark.parametrize("linked", ["", "/segments", "/segments/val", "/splits/val"])
def test_nothing_is_half_dropped(tiny, recipe, command, tmp_path, linked):
    path = recipe.write(tmp_path / "a")
    folder = path / f"{Cache(path).manifest.arrays}{linked}"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    before = sorted(path.rglob("*"))
    told = command(tmp_path, "losa-cache", "drop", "a", "--all", "--yes")
    assert told.returncode == 1
    assert "is a symbolic link" in told.stderr
    if linked.endswith("val"):
        with pytest.raises(CacheError, match="is a symbolic link"):
            drop_splits(path, ["val", "trainval"] if "segments" in linked else ["val"])
    assert sorted(path.rglob("*")) == before
    tiny.assert_same_codes(Cache(path).split("val").read(np.arange(4)), recipe.stored(tiny.VAL))


def test_linked_arrays_are_a_cache_like_any_other(tiny, recipe, command, tmp_path):
    path = recipe.write(tmp_path / "a")
    for segment in list((path / Cache(path).manifest.arrays / "segments").iterdir()):
        if segment.is_dir():
            segment.rename(tmp_path / segment.name)
            segment.symlink_to(tmp_path / segment.name)
    assert command(tmp_path, "losa-cache", "verify", "a").returncode == 0
    assert "nothing to repair" in command(tmp_path, "losa-cache", "repair", "a").stdout
    recipe.write(path)
    tiny.assert_same_codes(Cache(path).split("val").read(np.arange(4)), recipe.stored(tiny.VAL))
