"""Images in memory are those of a cache, and their hashes tell data sets apart."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from losa.cache_format import LosaError
from losa.cache_format.identity import Preprocessing
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.preprocessing import make_transform
from losa.extract.sources.lists import read_lists
from losa.pipelines.bench.live import data as module
from losa.pipelines.bench.live.data import LiveData


@pytest.fixture
def folder(data_sets, tmp_path):
    """A data set that a test may change."""
    return shutil.copytree(data_sets / "leaves", tmp_path / "leaves")


@pytest.fixture
def preprocessing(backbone):
    return backbone.preprocessing


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_inputs_are_those_of_the_transform_to_the_bit(folder, crop_mode):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 50, 4), np.uint8)).save(
        folder / "test0.png"
    )
    preprocessing = Preprocessing(
        input_size=(3, 32, 24),
        interpolation="bicubic",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_pct=0.9,
        crop_mode=crop_mode,
    )
    data = LiveData(folder, ["train800", "test"], preprocessing)
    inputs, labels = data.batch("test", np.array([3, 0]), "cpu")
    loader, transform = ImageLoader(read_lists(folder), DEFAULT_DECODING), make_transform(preprocessing)
    expected = torch.stack([transform(loader.load(f"test{number}.png").image) for number in (3, 0)])
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, expected)
    assert labels.tolist() == [1, 0]


def test_each_image_is_decoded_once(folder, preprocessing, monkeypatch):
    loaded = []
    load = ImageLoader.load
    monkeypatch.setattr(ImageLoader, "load", lambda self, key: loaded.append(key) or load(self, key))
    data = LiveData(folder, ["train800", "train800val200"], preprocessing)
    data.fingerprint("train800")
    assert not loaded
    data.batch("train800", np.array([0]), "cpu")
    data.batch("train800val200", np.array([20]), "cpu")
    assert len(loaded) == len(set(loaded)) == 24


def test_images_without_a_label_are_left_out(folder, preprocessing):
    (folder / "test.txt").write_text("test0.png -1\ntest1.png 1\n")
    assert LiveData(folder, ["test"], preprocessing).labels("test").tolist() == [1]
    (folder / "test.txt").write_text("test0.png -1\n")
    with pytest.raises(LosaError, match="no image of split 'test' has a label"):
        LiveData(folder, ["test"], preprocessing)


@pytest.mark.parametrize("change", ["pixels", "label", "order"])
def test_another_data_set_has_another_fingerprint(folder, preprocessing, change):
    before = LiveData(folder, ["test"], preprocessing).fingerprint("test")
    lines = (folder / "test.txt").read_text().splitlines()
    if change == "pixels":
        shutil.copy(folder / "test1.png", folder / "test0.png")
    elif change == "label":
        lines[0] = "test0.png 1"
    else:
        lines.reverse()
    (folder / "test.txt").write_text("\n".join(lines))
    assert LiveData(folder, ["test"], preprocessing).fingerprint("test") != before


def test_a_damaged_image_is_named(folder, preprocessing):
    (folder / "test3.png").write_bytes(b"no image")
    data = LiveData(folder, ["test"], preprocessing)
    with pytest.raises(LosaError, match=r"leaves, image test3.png: not an image .* take it out of the lists"):
        data.batch("test", np.array([0]), "cpu")


def test_shared_images_are_counted(folder, preprocessing):
    data = LiveData(folder, ["test", "val200", "train800val200"], preprocessing)
    data.refuse_shared_images("test", ["val200", "train800val200"])
    with pytest.raises(LosaError, match="8 of 8 images of val200 are also in train800val200"):
        data.refuse_shared_images("val200", ["test", "train800val200"])


def test_images_that_do_not_fit_into_memory_are_refused(folder, preprocessing, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 1000)
    data = LiveData(folder, ["test"], preprocessing)
    with pytest.raises(LosaError, match=r"the decoded images take 768\.0 kB, 1\.0 kB of memory"):
        data.batch("test", np.array([0]), "cpu")


def test_of_each_split_only_so_many_images_are_taken(folder, preprocessing):
    data = LiveData(folder, ["train800", "test"], preprocessing, most=3)
    assert [len(data.labels(split)) for split in ("train800", "test")] == [3, 3]
    assert data._pixels.shape[0] == 6
    whole = LiveData(folder, ["train800"], preprocessing)
    inputs, labels = data.batch("train800", np.arange(3), "cpu")
    expected, expected_labels = whole.batch("train800", np.arange(3), "cpu")
    assert torch.equal(inputs, expected)
    assert torch.equal(labels, expected_labels)
