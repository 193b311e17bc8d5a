import errno
import pickle
import shutil
import struct
import unicodedata
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from losa.cache_format import LosaError
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES
from losa.extract import ArraySource, DatasetConfig, TorchDatasetSource, open_source
from losa.extract.config import OPTIONS_OF_KINDS, TaskConfig
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import composed

NFD = unicodedata.normalize("NFD", "größe")
NFC = unicodedata.normalize("NFC", "größe")


def _load(source, key):
    return ImageLoader(source, DEFAULT_DECODING).load(key)


def _table(photos, paint):
    paint(photos / f"{NFD}.png", 77)
    rows = [f"train/{'cat' if n % 2 else 'ant'}/{n}.png,{n % 2},s{n % 3},train" for n in range(7)]
    rows += [f"val/cat/{n}.png,,s{n},val" for n in range(3)] + [f"{NFD}.png,1,{NFD},val"]
    (photos / "table.csv").write_text("\n".join(["file,label,kind,split", *rows]))
    columns = ["label", "kind"]
    return DatasetConfig(kind="table", name="t", root=str(photos), file="table.csv", label_columns=columns)


def _birds(root, paint):
    for number in range(4):
        paint(root / f"images/{NFD}/{number}.png", number)
    lines = {
        "images.txt": [f"{NFD}/{number}.png" for number in range(4)],
        "image_class_labels.txt": [3, 7, 3, 7],
        "train_test_split.txt": [1, 1, 0, 0],
    }
    for name, values in lines.items():
        (root / name).write_text("".join(f"{number} {value}\n" for number, value in enumerate(values)))
    (root / "classes.txt").write_text("3 ant\n7 cat\n")
    return DatasetConfig(kind="fgvc", name="f", root=str(root), layout="cub")


@pytest.fixture(
    params=[
        "digits",
        "folder",
        "lists",
        "table",
        "tasks",
        "fgvc",
        "webdataset",
        "huggingface",
        "timm",
        "arrays",
        "torch",
    ]
)
def reopen(
    request, photos, vtab, twins, shards, pack, paint, folder, lists, tasks, webdataset, save_photos, tmp_path
):
    """Opens one and the same data set of every kind; some file names are decomposed."""
    if request.param == "digits":
        return lambda: open_source(DatasetConfig(kind="digits", name="digits"))
    if request.param == "huggingface":
        save_photos(photos, photos.parent / "saved")
        config = DatasetConfig(kind="huggingface", name="h", root=str(photos.parent / "saved"))
        return lambda: open_source(config)
    if request.param == "timm":
        for split in ("train", "val"):
            paint(photos / f"{split}/ant/{NFD}.png", 77)
        config = DatasetConfig(kind="timm", name="t", root=str(photos), splits=["train", "val"])
        return lambda: open_source(config)
    if request.param == "arrays":
        pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), np.uint8)
        return lambda: ArraySource({"train": (pixels[:5], [0, 2, 1, -1, 0]), "test": (pixels[5:], [3, 0, 1])})
    if request.param == "torch":
        return lambda: TorchDatasetSource({name: ImageFolder(photos / "train") for name in ("train", "val")})
    if request.param == "folder":
        paint(photos / f"train/{NFD}/{NFD}.png", 77)
        return lambda: folder(photos)
    if request.param == "webdataset":
        image = paint(photos / "1.png", 77).read_bytes()
        pack(shards / f"train-{NFD}.tar", {f"./{NFD}/{NFD}.png": image, f"./{NFD}/{NFD}.cls": "2"})
        return lambda: webdataset(shards)
    if request.param == "table":
        config = _table(photos, paint)
        return lambda: open_source(config)
    if request.param == "fgvc":
        config = _birds(tmp_path / "birds", paint)
        return lambda: open_source(config)
    for root in (vtab, twins / "count", twins / "dist"):
        paint(root / f"{NFD}.png", 77)
        with (root / "train800.txt").open("a") as file:
            file.write(f"./{NFD}.png 2\n")
    return (lambda: tasks(twins)) if request.param == "tasks" else (lambda: lists(vtab))


class TestEverySource:
    def test_keys_are_unique_normalised_relative_paths(self, reopen):
        source = reopen()
        assert len(source.splits) > 1
        for split in source.splits:
            keys = source.contents(split).keys
            assert len(set(keys)) == len(keys) > 0
            for key in keys:
                assert unicodedata.is_normalized("NFC", key)
                assert not PurePosixPath(key).is_absolute()
                assert PurePosixPath(key).as_posix() == key

    def test_labels_are_int64_within_the_range_of_their_columns(self, reopen):
        source = reopen()
        for split in source.splits:
            contents = source.contents(split)
            assert list(contents.labels) == [column.name for column in source.columns]
            for column in source.columns:
                labels = contents.labels[column.name]
                assert labels.dtype == np.int64
                assert labels.shape == (len(contents.keys),)
                assert labels.min() >= -1
                assert labels.max() < column.num_classes

    def test_an_image_has_the_same_labels_in_every_split(self, reopen):
        source = reopen()
        label_of = {}
        for split in source.splits:
            contents = source.contents(split)
            for name, labels in contents.labels.items():
                for key, label in zip(contents.keys, labels.tolist(), strict=True):
                    assert label_of.setdefault((name, key), label) == label

    def test_notes_are_lines(self, reopen):
        for note in reopen().notes:
            assert note
            assert "\n" not in note

    def test_contents_never_change(self, reopen):
        first, second = reopen(), reopen()
        assert first.splits == second.splits
        assert first.columns == second.columns
        for split in first.splits:
            for other in (first.contents(split), second.contents(split)):
                assert list(other.keys) == list(first.contents(split).keys)
                for name, labels in first.contents(split).labels.items():
                    assert np.array_equal(other.labels[name], labels)

    def test_images_are_rgb_and_their_hash_is_of_the_content(self, reopen):
        source = reopen()
        keys = source.contents(source.splits[0]).keys[-6:]
        hashes = set()
        for key in keys:
            image, source_hash, *_ = _load(source, key)
            assert image.mode == "RGB"
            assert isinstance(source_hash, bytes)
            assert len(source_hash) == SOURCE_HASH_BYTES
            assert _load(source, key)[:2] == (image, source_hash)
            hashes.add(source_hash)
        assert len(hashes) == len(keys)

    def test_a_pickled_copy_is_the_same_source(self, reopen):
        source = reopen()
        wanted = {split: source.contents(split).keys for split in source.splits}
        copy = pickle.loads(pickle.dumps(source))
        assert copy.splits == source.splits
        assert copy.columns == source.columns
        for split, keys in wanted.items():
            assert _load(copy, keys[-1]) == _load(source, keys[-1])
            assert list(copy.contents(split).keys) == list(keys)

    def test_a_file_that_is_gone_or_damaged_is_an_invalid_image(self, request, reopen, tmp_path):
        kind = request.node.callspec.params["reopen"]
        if kind in ("digits", "webdataset", "huggingface", "arrays", "torch"):
            pytest.skip("its images are no files of their own")
        source = reopen()
        key = source.contents(source.splits[0]).keys[0]
        files = [path for path in tmp_path.rglob("*.png") if composed(path.as_posix()).endswith(f"/{key}")]
        for file in files:
            file.write_bytes(b"no image")
        assert files
        for reason in ("not an image in a format", "No such file"):
            with pytest.raises(InvalidImage, match=reason) as caught:
                _load(source, key)
            assert str(tmp_path) not in str(caught.value)
            for file in files:
                file.unlink(missing_ok=True)

    def test_an_unknown_split_is_answered_with_the_known_ones(self, reopen):
        source = reopen()
        with pytest.raises(LosaError) as caught:
            source.contents("trian")
        assert str(caught.value) == f"there is no split 'trian'; there are: {', '.join(source.splits)}"


def test_digits_come_in_the_splits_of_vtab():
    source = open_source(DatasetConfig(kind="digits", name="digits"))
    contents = {split: source.contents(split) for split in source.splits}
    assert {name: len(split.keys) for name, split in contents.items()} == {
        "train800": 800,
        "val200": 200,
        "train800val200": 1000,
        "test": 797,
    }
    both = contents["train800"].keys + contents["val200"].keys
    assert contents["train800val200"].keys == both
    assert len(set(both) | set(contents["test"].keys)) == 1797
    assert source.columns[0].num_classes == 10
    # Sorted by writer the first hundred would be balanced but all of few hands; the order is shuffled.
    assert contents["train800"].keys[:3] != sorted(contents["train800"].keys)[:3]


def test_digits_are_the_pictures_they_are_labelled_as():
    from sklearn.datasets import load_digits

    source = open_source(DatasetConfig(kind="digits", name="digits"))
    contents = source.contents("test")
    digits = load_digits()
    for key, label in list(zip(contents.keys, contents.labels["label"], strict=True))[:50]:
        row = int(key.removeprefix("digit/"))
        assert digits.target[row] == label
        pixels = np.asarray(_load(source, key).image)[..., 0]
        assert np.array_equal(pixels, np.round(digits.images[row] * 255 / 16))


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[demo\]'"):
        open_source(DatasetConfig(kind="digits", name="digits"))


@pytest.mark.parametrize("kind", ["folder", "lists", "table", "tasks", "fgvc"])
def test_files_need_a_root(kind):
    with pytest.raises(LosaError, match=r"dataset=x needs dataset\.root=<folder>"):
        open_source(DatasetConfig(kind=kind, name="x"))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("folder", {}),
        ("lists", {}),
        ("table", {"file": "table.csv"}),
        ("tasks", {"tasks": {"a": TaskConfig(subfolder="a")}}),
        ("fgvc", {"layout": "cub"}),
    ],
)
def test_a_missing_root_is_named(kind, fields, tmp_path):
    with pytest.raises(LosaError, match=r"dataset\.root: there is no folder .*/nowhere"):
        open_source(DatasetConfig(kind=kind, name="x", root=str(tmp_path), subfolder="nowhere", **fields))


def test_a_root_may_begin_with_a_tilde(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    source = open_source(DatasetConfig(kind="folder", name="x", root="~", subfolder="photos"))
    assert source.splits == ("train", "val")


@pytest.mark.parametrize("kind", ["folder", "lists"])
def test_why_a_file_cannot_be_read_is_said_without_naming_a_folder(kind, photos, vtab, folder, lists):
    source, key, root = {
        "folder": (folder(photos), "train/ant/2.png", photos),
        "lists": (lists(vtab), "images/train800/2.png", vtab),
    }[kind]
    source.contents(source.splits[0])
    path = root / key
    whole = path.read_bytes()
    broken = whole[:60] + bytes(len(whole) - 60)
    for content in (b"", b"no image", whole[:40], whole[:60], whole[:-30], broken):
        path.write_bytes(content)
        with pytest.raises(InvalidImage, match=r".") as caught:
            _load(source, key)
        assert str(root) not in str(caught.value)
    path.unlink()
    with pytest.raises(InvalidImage, match=r"^No such file or directory$"):
        _load(source, key)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (MemoryError(), "not enough memory"),
    ],
)
@pytest.mark.parametrize("place", [(Path, "read_bytes"), (Image.Image, "convert")], ids=["read", "decode"])
def test_an_error_of_the_machine_is_not_one_of_the_image(photos, folder, monkeypatch, error, reason, place):
    source = folder(photos)
    monkeypatch.setattr(*place, _raising(error))
    with pytest.raises(LosaError) as caught:
        _load(source, "val/cat/0.png")
    assert not isinstance(caught.value, InvalidImage)
    name = f"{photos}/val/cat/0.png" if place[0] is Path else "val/cat/0.png"
    assert str(caught.value) == (
        f"{name}: {reason}. The image may be whole, so it is not marked invalid: "
        "remove the cause and run the same command again"
    )


@pytest.mark.parametrize("error", [ValueError("x"), SyntaxError("broken PNG file"), struct.error("unpack")])
def test_what_a_decoder_says_of_damaged_data_makes_an_image_invalid(photos, folder, monkeypatch, error):
    source = folder(photos)
    monkeypatch.setattr(Image.Image, "convert", _raising(error))
    with pytest.raises(InvalidImage, match=str(error)):
        _load(source, "val/cat/0.png")


def test_pillows_own_word_for_too_little_memory_is_no_property_of_the_image(photos, folder, monkeypatch):
    source = folder(photos)
    word = "out of memory error when reading image file"
    monkeypatch.setattr(Image.Image, "convert", _raising(OSError(word)))
    with pytest.raises(LosaError, match="not enough memory") as caught:
        _load(source, "val/cat/0.png")
    assert not isinstance(caught.value, InvalidImage)


def test_a_decompression_bomb_is_invalid(photos, folder, monkeypatch):
    loader = ImageLoader(folder(photos), DEFAULT_DECODING, max_pixels=16 * 20)
    loader.load("val/cat/0.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    loader.load("val/cat/0.png")
    with pytest.raises(InvalidImage, match=r"^16 x 20 pixels are more than max_pixels=319$"):
        replace(loader, max_pixels=319).load("val/cat/0.png")


def test_a_file_whose_folder_became_a_file_is_gone(photos, folder):
    source = folder(photos)
    shutil.rmtree(photos / "val/cat")
    (photos / "val/cat").write_text("x")
    with pytest.raises(InvalidImage, match=r"^Not a directory$"):
        _load(source, "val/cat/0.png")


def _raising(error):
    def function(*_, **__):
        raise error

    return function


@pytest.mark.parametrize("kind", ["folder", "lists"])
def test_a_decomposed_name_loads_before_its_split_is_asked_for(kind, photos, vtab, paint, folder, lists):
    paint(photos / f"val/cat/{NFD}.png", 5)
    paint(vtab / f"{NFD}.png", 5)
    (vtab / "val200.txt").write_text(f"{NFD}.png 0\n")
    source, key = {"folder": (folder(photos), f"val/cat/{NFC}.png"), "lists": (lists(vtab), f"{NFC}.png")}[
        kind
    ]
    source.contents(source.splits[0])
    assert _load(source, key).image.size == (16, 20)


@pytest.mark.parametrize("kind", [*OPTIONS_OF_KINDS])
def test_options_that_a_kind_of_data_set_does_not_read_are_refused(kind: str) -> None:
    """Otherwise dataset.root=photos without dataset=folder would extract the digits."""
    values = {
        "root": "photos",
        "subfolder": "a",
        "file": "a.csv",
        "image_column": "image",
        "label_columns": ["a"],
        "split_column": "split",
        "tasks": {"a": TaskConfig(subfolder="a")},
        "layout": "cub",
        "source": "torch/cifar10",
        "splits": ["train"],
        "download": True,
        "shards": "a.tar",
        "image_field": "jpg",
        "label_fields": ["cls"],
        "index_folder": "indices",
        "encoding": "latin-1",
        "num_classes": 3,
    }
    assert {"kind", "name", "media", *values} == {*DatasetConfig.__dataclass_fields__}
    for name, value in values.items():
        if name in OPTIONS_OF_KINDS[kind]:
            assert getattr(DatasetConfig(kind=kind, name="a", **{name: value}), name) == value
        else:
            told = rf"dataset\.{name}=.*: a data set of kind {kind} does not read it; those of kind "
            with pytest.raises(ValueError, match=told):
                DatasetConfig(kind=kind, name="a", **{name: value})
