import json

import pytest

from losa.cache_format import Cache
from losa.pipelines.cache.info import describe


def test_for_people_and_as_json(tiny, command, tmp_path):
    tiny.Recipe(invalid=frozenset(["train/01.jpg"])).write(tmp_path / "zoo")
    told = command(tmp_path, "losa-cache", "info", "zoo")
    assert (told.returncode, told.stderr) == (0, "")
    for words in (
        "vit_nano.none",
        "3 sites x 4 tokens x 6 channels",
        "int8",
        "species (5 classes)",
        "block.05",
        "crop_pct",
        "exif ignore (a cache of an early version)",
    ):
        assert words in told.stdout
    info = json.loads(command(tmp_path, "losa-cache", "info", "zoo", "--json").stdout)
    assert info["store"] == "zarr"
    assert info["compressor"] is None
    assert (info["grid"], info["pooled_from"]) == ([2, 1], None)
    assert [split["name"] for split in info["splits"]] == ["train", "val"]
    assert info["splits"][0] | {"bytes": 0} == {
        "name": "train",
        "rule": None,
        "images": 7,
        "extracted": 7,
        "invalid": 1,
        "bytes": 0,
    }
    assert all(site["snr_db"] > 40 for site in info["sites"])
    shards = (path for path in (tmp_path / "zoo").rglob("c.*") if path.parent.name in ("codes", "scales"))
    assert info["bytes"] == sum(path.stat().st_size for path in shards)


def test_an_unfinished_cache(tiny, tmp_path):
    recipe = tiny.Recipe()
    with recipe.open(tmp_path / "zoo") as writer:
        segment, shard = writer.missing()[0]
        recipe.write_shard(writer, segment, shard)
    info = describe(Cache(tmp_path / "zoo"))
    assert [split["extracted"] for split in info["splits"]] == [3, 0]
    assert [(segment["shards"], segment["committed"]) for segment in info["segments"]] == [(3, 1), (2, 0)]


@pytest.mark.parametrize("codec", ["float32", "int4"])
def test_what_a_codec_loses(tiny, tmp_path, codec):
    tiny.Recipe(codec=codec).write(tmp_path / "zoo")
    decibels = [site["snr_db"] for site in describe(Cache(tmp_path / "zoo"))["sites"]]
    if codec == "float32":
        assert decibels == [None] * 3
    else:
        assert all(15 < value < 40 for value in decibels)


def test_no_cache_there(command, tmp_path):
    told = command(tmp_path, "losa-cache", "info", "nothing")
    assert told.returncode == 1
    advice = "losa-extract ... cache=<folder> makes one"
    assert told.stderr == f"error: nothing is not a cache: there is no such folder. {advice}\n"


@pytest.mark.parametrize("name", ["photos [/new]", "ph[/x]", "[red]a[/red]", ":dog:", "a\x1b[2Jb\r"])
def test_text_from_data_is_never_markup(tiny, command, tmp_path, name):
    recipe = tiny.Recipe()
    with recipe.open(tmp_path / "zoo[/x]", dataset=name) as writer:
        for segment, shard in writer.missing():
            recipe.write_shard(writer, segment, shard)
    told = command(tmp_path, "losa-cache", "info", "zoo[/x]")
    assert (told.returncode, told.stderr) == (0, "")
    shown = name.replace("\x1b", "\\x1b").replace("\r", "\\r")
    assert f"{shown}, 11 images" in told.stdout
    assert "zoo[/x] (format" in told.stdout
