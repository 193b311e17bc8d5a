"""Data sets that grow, shrink or are confused with each other between two extractions."""

import shutil

import numpy as np
import pytest

from losa.cache_format import Cache, IdentityMismatch, LosaError
from losa.extract import extract
from losa.extract.departed import DEPARTED


@pytest.fixture
def photos_config(config, photos):
    def make(**changes):
        return config(**({"dataset": {"kind": "folder", "root": str(photos)}} | changes))

    return make


def keys(settings, split):
    return list(Cache(settings.cache).split(split).keys)


def test_new_images_are_all_that_is_extracted(photos_config, photos, paint, caplog):
    settings = photos_config()
    assert extract(settings).images == 10
    paint(photos / "train/ant/new.png", 50)
    paint(photos / "train/bee/new.png", 51)  # a class that sorts between the others
    with caplog.at_level("WARNING"):
        assert extract(settings).images == 2
    assert "split 'train' has changed since it was extracted: 2 images are new, 0 have left it" in caplog.text
    cache = Cache(settings.cache)
    split = cache.split("train")
    assert cache.manifest.labels[0].classes == ("ant", "cat", "bee")
    names = [cache.manifest.labels[0].classes[label] for label in split.labels("label")]
    assert names == [key.split("/")[1] for key in split.keys]
    assert len(split.read(np.arange(9)).values) == 9
    assert extract(settings).images == 0


def test_the_file_that_on_error_named_may_be_deleted(photos_config, photos, caplog):
    """Some shards are finished; the row of the deleted image stays, and no split refers to it."""
    bad = photos / "train/cat/5.png"
    bad.write_bytes(b"no image")
    settings = photos_config(
        codec="float16"
    )  # without a calibration, which would fail before the first shard
    with pytest.raises(LosaError, match=r"cannot read an image: train/cat/5\.png"):
        extract(settings)
    bad.unlink()
    extract(settings)
    assert "train/cat/5.png" not in keys(settings, "train")
    assert len(keys(settings, "train")) == 6
    assert extract(settings).images == 0
    assert all(Cache(settings.cache).split("train").valid)


def test_an_image_that_departed_is_extracted_when_it_is_back(photos_config, photos, paint, tmp_path):
    bad = photos / "train/cat/5.png"
    bad.write_bytes(b"no image")
    settings = photos_config(
        codec="float16"
    )  # without a calibration, which would fail before the first shard
    with pytest.raises(LosaError):
        extract(settings)
    bad.unlink()
    extract(settings)
    records = [path.read_text() for path in (tmp_path / "cache").rglob("commit.*.json")]
    assert sum(f"train/cat/5.png: {DEPARTED}" in record for record in records) == 1
    paint(bad, 5)
    assert extract(settings).images > 0
    assert "train/cat/5.png" in keys(settings, "train")
    assert all(Cache(settings.cache).split("train").valid)


def test_a_limit_is_lifted(photos_config, caplog):
    assert extract(photos_config(limit=2)).images == 4
    few = keys(photos_config(), "train")
    assert {key.split("/")[1] for key in few} == {"ant", "cat"}
    caplog.clear()
    assert extract(photos_config()).images == 6
    assert "stays calibrated on the 4 images of its first extraction" in caplog.text
    assert len(keys(photos_config(), "train")) == 7
    with pytest.raises(LosaError, match=r"limit=2 would take 5 images out of split 'train'"):
        extract(photos_config(limit=2))
    assert len(keys(photos_config(), "train")) == 7


class TestTwoFoldersOfOneName:
    def test_with_other_images_of_the_same_names(self, photos_config, photos, paint, tmp_path):
        extract(photos_config())
        other = tmp_path / "other"
        shutil.copytree(photos, other)
        paint(other / "train/ant/0.png", 500)
        with pytest.raises(IdentityMismatch, match="The image has changed"):
            extract(photos_config(dataset={"kind": "folder", "root": str(other)}))

    def test_with_other_names(self, photos_config, paint, tmp_path):
        extract(photos_config())
        for number in range(4):
            paint(tmp_path / f"other/train/ant/x{number}.png", number)
        with pytest.raises(IdentityMismatch, match="0 of the 7 images in the cache"):
            extract(photos_config(dataset={"kind": "folder", "root": str(tmp_path / "other")}))

    def test_with_other_splits(self, photos_config, paint, tmp_path):
        extract(photos_config())
        paint(tmp_path / "other/test/ant/0.png", 1)
        with pytest.raises(LosaError, match=r"was begun from another dataset\.root, "):
            extract(photos_config(dataset={"kind": "folder", "root": str(tmp_path / "other")}))

    def test_a_data_set_that_moved_is_the_same(self, photos_config, photos, paint, tmp_path):
        extract(photos_config(splits=["train"]))
        photos.rename(tmp_path / "moved")
        paint(tmp_path / "moved/train/ant/new.png", 77)
        moved = photos_config(dataset={"kind": "folder", "root": str(tmp_path / "moved")})
        assert extract(moved).images == 4  # one is new, and the three of val
