import errno
import os
import pickle
import shutil
import struct
import unicodedata
from importlib.resources import files
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from losa.cache_format import LosaError
from losa.cache_format.shards.commit import SOURCE_HASH_BYTES
from losa.extract import DatasetConfig, open_source
from losa.extract.sources import InvalidImage, ListsSource

VTAB_CLASSES = {
    "caltech101": 102,
    "cifar": 100,
    "dtd": 47,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "svhn": 10,
    "sun397": 397,
    "patch_camelyon": 2,
    "eurosat": 10,
    "resisc45": 45,
    "diabetic_retinopathy": 5,
    "clevr_count": 8,
    "clevr_dist": 6,
    "dmlab": 6,
    "kitti": 4,
    "dsprites_loc": 16,
    "dsprites_ori": 16,
    "smallnorb_azi": 18,
    "smallnorb_ele": 9,
}
NFD = unicodedata.normalize("NFD", "größe")
NFC = unicodedata.normalize("NFC", "größe")


@pytest.fixture
def folder(tmp_path):
    """``folder(**fields)``: the plain image folder below ``root``, or below the temporary folder."""
    return lambda root=tmp_path, **fields: open_source(
        DatasetConfig(kind="folder", name="f", root=str(root), **fields)
    )


@pytest.fixture
def lists(tmp_path):
    """As ``folder``, for text lists."""
    return lambda root=tmp_path, **fields: open_source(
        DatasetConfig(kind="lists", name="l", root=str(root), **fields)
    )


@pytest.fixture(params=["digits", "folder", "lists"])
def reopen(request, photos, vtab, paint, folder, lists):
    """Opens one and the same data set of every kind; some file names are decomposed."""
    if request.param == "digits":
        return lambda: open_source(DatasetConfig(kind="digits", name="digits"))
    if request.param == "folder":
        paint(photos / f"train/{NFD}/{NFD}.png", 77)
        return lambda: folder(photos)
    paint(vtab / f"{NFD}.png", 77)
    with (vtab / "train800.txt").open("a") as file:
        file.write(f"./{NFD}.png 2\n")
    return lambda: lists(vtab)


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

    def test_labels_are_int64_within_the_columns_range(self, reopen):
        source = reopen()
        assert [column.name for column in source.columns] == ["label"]
        for split in source.splits:
            contents = source.contents(split)
            labels = contents.labels["label"]
            assert labels.dtype == np.int64
            assert labels.shape == (len(contents.keys),)
            assert labels.min() >= -1
            assert labels.max() < source.columns[0].num_classes

    def test_contents_never_change(self, reopen):
        first, second = reopen(), reopen()
        assert first.splits == second.splits
        assert first.columns == second.columns
        for split in first.splits:
            for other in (first.contents(split), second.contents(split)):
                assert list(other.keys) == list(first.contents(split).keys)
                assert np.array_equal(other.labels["label"], first.contents(split).labels["label"])

    def test_images_are_rgb_and_their_hash_is_of_the_content(self, reopen):
        source = reopen()
        keys = source.contents(source.splits[0]).keys[-6:]
        hashes = set()
        for key in keys:
            image, source_hash = source.load(key)
            assert image.mode == "RGB"
            assert isinstance(source_hash, bytes)
            assert len(source_hash) == SOURCE_HASH_BYTES
            assert source.load(key) == (image, source_hash)
            hashes.add(source_hash)
        assert len(hashes) == len(keys)

    def test_a_pickled_copy_is_the_same_source(self, reopen):
        source = reopen()
        wanted = {split: source.contents(split).keys for split in source.splits}
        copy = pickle.loads(pickle.dumps(source))
        assert copy.splits == source.splits
        assert copy.columns == source.columns
        for split, keys in wanted.items():
            assert copy.load(keys[-1]) == source.load(keys[-1])
            assert list(copy.contents(split).keys) == list(keys)

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
        pixels = np.asarray(source.load(key).image)[..., 0]
        assert np.array_equal(pixels, np.round(digits.images[row] * 255 / 16))


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[demo\]'"):
        open_source(DatasetConfig(kind="digits", name="digits"))


@pytest.mark.parametrize("kind", ["folder", "lists"])
def test_files_need_a_root(kind, tmp_path):
    with pytest.raises(LosaError, match=r"dataset=x needs dataset\.root=<folder>"):
        open_source(DatasetConfig(kind=kind, name="x"))
    with pytest.raises(LosaError, match=r"dataset\.root: there is no folder .*/nowhere"):
        open_source(DatasetConfig(kind=kind, name="x", root=str(tmp_path), subfolder="nowhere"))


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
            source.load(key)
        assert str(root) not in str(caught.value)
    path.unlink()
    with pytest.raises(InvalidImage, match=r"^No such file or directory$"):
        source.load(key)


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
        source.load("val/cat/0.png")
    assert not isinstance(caught.value, InvalidImage)
    assert str(caught.value) == (
        f"{photos}/val/cat/0.png: {reason}. The image may be whole, so it is not marked invalid: "
        "remove the cause and run the same command again; finished shards are kept"
    )


@pytest.mark.parametrize("error", [ValueError("x"), SyntaxError("broken PNG file"), struct.error("unpack")])
def test_what_a_decoder_says_of_damaged_data_makes_an_image_invalid(photos, folder, monkeypatch, error):
    source = folder(photos)
    monkeypatch.setattr(Image.Image, "convert", _raising(error))
    with pytest.raises(InvalidImage, match=str(error)):
        source.load("val/cat/0.png")


def test_pillows_own_word_for_too_little_memory_is_no_property_of_the_image(photos, folder, monkeypatch):
    source = folder(photos)
    word = "out of memory error when reading image file"
    monkeypatch.setattr(Image.Image, "convert", _raising(OSError(word)))
    with pytest.raises(LosaError, match="not enough memory") as caught:
        source.load("val/cat/0.png")
    assert not isinstance(caught.value, InvalidImage)


def test_a_decompression_bomb_is_invalid(photos, folder, monkeypatch):
    source = folder(photos)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidImage, match="DecompressionBombError"):
        source.load("val/cat/0.png")


def test_a_file_whose_folder_became_a_file_is_gone(photos, folder):
    source = folder(photos)
    shutil.rmtree(photos / "val/cat")
    (photos / "val/cat").write_text("x")
    with pytest.raises(InvalidImage, match=r"^Not a directory$"):
        source.load("val/cat/0.png")


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
    assert source.load(key).image.size == (16, 20)


class TestFolder:
    def test_linked_class_folders_and_files_are_followed(self, photos, tmp_path, paint, folder):
        paint(tmp_path / "elsewhere/deep/1.png", 1)
        paint(tmp_path / "elsewhere/2.png", 2)
        (photos / "train/bee").symlink_to(tmp_path / "elsewhere")
        (photos / "val/bee").symlink_to(tmp_path / "elsewhere")
        (photos / "val/cat/linked.png").symlink_to(tmp_path / "elsewhere/2.png")
        source = folder(photos)
        assert source.columns[0].classes == ("ant", "bee", "cat")
        assert source.contents("train").keys[4:6] == ["train/bee/2.png", "train/bee/deep/1.png"]
        assert source.contents("val").keys[:2] == ["val/bee/2.png", "val/bee/deep/1.png"]
        assert "val/cat/linked.png" in source.contents("val").keys

    def test_a_linked_split_and_root_are_followed(self, photos, tmp_path, folder):
        (photos / "test").symlink_to(photos / "val")
        (tmp_path / "link").symlink_to(photos)
        source = folder(tmp_path / "link")
        assert source.splits == ("train", "val", "test")
        assert source.contents("test").keys == [f"test/cat/{n}.png" for n in range(3)]

    def test_links_in_a_circle_end(self, photos, folder):
        before = folder(photos).contents("train").keys
        (photos / "train/cat/self").symlink_to(photos / "train/cat")
        (photos / "train/ant/up").symlink_to(photos / "train")
        (photos / "train/ant/itself").symlink_to("itself")
        (photos / "val/out").symlink_to(photos)
        source = folder(photos)
        assert source.contents("train").keys == before
        assert len(source.contents("val").keys) == 3

    def test_a_link_that_leads_nowhere_is_an_image_that_is_gone(self, photos, folder):
        (photos / "val/cat/gone.png").symlink_to(photos / "nowhere.png")
        source = folder(photos)
        assert "val/cat/gone.png" in source.contents("val").keys
        with pytest.raises(InvalidImage, match="No such file"):
            source.load("val/cat/gone.png")

    def test_a_folder_that_cannot_be_listed_is_named(self, photos, folder, monkeypatch):
        scandir = os.scandir

        def refusing(path):
            if str(path).endswith("train/cat"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.raises(
            LosaError, match=r"/train/cat: this folder cannot be listed \(Permission denied\)"
        ):
            folder(photos)

    def test_folders_with_images_beside_split_folders_are_refused(self, photos, paint, folder):
        (photos / "notes").mkdir()
        (photos / "notes/readme.txt").write_text("x")
        assert folder(photos).splits == ("train", "val")
        paint(photos / "valid/cat/0.png")
        paint(photos / "valid/cat/1.png")
        with pytest.raises(LosaError) as caught:
            folder(photos)
        assert str(caught.value) == (
            f"{photos} has split folders (train, val), and images beside them that would be left out: "
            "in valid/ (2).\nIf these are splits too, name them train, val, validation, test; if all of "
            "these folders are classes, put them into one folder named train and let dataset.root be its "
            "parent; otherwise move the images that do not belong to the data set elsewhere"
        )

    def test_a_class_named_like_a_split_is_not_taken_for_one(self, tmp_path, paint, folder):
        for name in ("car", "train", "bus"):
            paint(tmp_path / f"vehicles/{name}/0.png")
        with pytest.raises(LosaError, match=r"split folders \(train\).* in bus/ \(1\), car/ \(1\)\.\n"):
            folder(tmp_path / "vehicles")
        # What the message proposes works.
        (tmp_path / "vehicles").rename(tmp_path / "train")
        assert folder(tmp_path).columns[0].classes == ("bus", "car", "train")

    def test_loose_images_beside_split_folders_are_refused(self, photos, paint, folder):
        paint(photos / "0.png")
        with pytest.raises(LosaError, match=r"would be left out: in no folder \(1\)"):
            folder(photos)

    def test_split_folders_are_the_splits(self, photos, folder):
        source = folder(photos)
        assert source.splits == ("train", "val")
        assert source.columns[0].classes == ("ant", "cat")
        train = source.contents("train")
        assert train.keys[0] == "train/ant/0.png"
        assert train.labels["label"].tolist() == [0, 0, 0, 0, 1, 1, 1]
        # Only cats: yet the class has the number that it has in training.
        assert source.contents("val").labels["label"].tolist() == [1, 1, 1]

    def test_without_split_folders_the_root_is_one_split(self, photos, folder):
        source = folder(photos / "train")
        assert source.splits == ("all",)
        assert source.columns[0].classes == ("ant", "cat")
        contents = source.contents("all")
        assert contents.keys == [f"ant/{n}.png" for n in (0, 2, 4, 6)] + [f"cat/{n}.png" for n in (1, 3, 5)]
        assert source.load("ant/0.png") == folder(photos).load("train/ant/0.png")

    def test_classes_are_taken_over_all_splits(self, photos, paint, folder):
        paint(photos / "val/bee/0.png")
        source = folder(photos)
        assert source.columns[0].num_classes == 3
        assert source.contents("train").labels["label"].tolist() == [0, 0, 0, 0, 2, 2, 2]

    def test_images_below_no_class_have_no_label(self, photos, paint, folder):
        paint(photos / "val/loose.png")
        labels = dict(zip(*_keys_and_labels(folder(photos), "val"), strict=True))
        assert labels["val/loose.png"] == -1
        assert labels["val/cat/0.png"] == 1

    def test_a_folder_without_classes_has_no_labels(self, tmp_path, paint, folder):
        for number in range(3):
            paint(tmp_path / f"{number}.png", number)
        source = folder()
        assert source.columns[0].num_classes == 0
        assert source.contents("all").labels["label"].tolist() == [-1, -1, -1]

    def test_deeper_folders_belong_to_the_class_above(self, tmp_path, paint, folder):
        paint(tmp_path / "cat/wild/big/1.png")
        source = folder()
        assert source.columns[0].classes == ("cat",)
        assert source.contents("all").keys == ["cat/wild/big/1.png"]

    def test_other_files_are_passed_over_and_capitals_are_not(self, tmp_path, paint, folder):
        paint(tmp_path / "cat/1.JPG")
        (tmp_path / "cat/notes.txt").write_text("x")
        (tmp_path / "cat/2.png").mkdir()
        assert folder().contents("all").keys == ["cat/1.JPG"]

    def test_no_images_are_refused_with_what_would_count(self, tmp_path, folder):
        (tmp_path / "train").mkdir()
        with pytest.raises(LosaError, match=r"holds no images \(.*\.jpeg.*\.png.*\)"):
            folder()

    def test_a_decomposed_name_loads_by_its_composed_key(self, tmp_path, paint, folder):
        path = paint(tmp_path / f"cat/{NFD}.png", 3)
        source = folder()
        assert source.contents("all").keys == [f"cat/{NFC}.png"]
        assert source.load(f"cat/{NFC}.png").image.size == (16, 20)
        assert path.name != f"{NFC}.png"

    def test_two_spellings_of_a_class_are_one_class(self, tmp_path, paint, folder):
        paint(tmp_path / f"train/{NFC}/1.png")
        paint(tmp_path / f"val/{NFD}/2.png")
        source = folder()
        assert source.columns[0].classes == (NFC,)
        assert source.contents("val").labels["label"].tolist() == [0]

    def test_two_spellings_of_one_file_name_are_refused(self, tmp_path, paint, folder):
        paint(tmp_path / f"cat/{NFC}.png", 1)
        paint(tmp_path / f"cat/{NFD}.png", 2)
        with pytest.raises(LosaError, match="is listed twice"):
            folder().contents("all")


class TestLists:
    def test_standard_splits_come_first_in_their_usual_order(self, vtab, lists):
        (vtab / "test.txt").write_text("images/val200/0.png 0\n")
        assert lists(vtab).splits == ("train800", "val200", "train800val200", "test")

    def test_the_number_of_classes_is_taken_over_all_lists(self, vtab, lists):
        source = lists(vtab)
        assert source.contents("train800").labels["label"].max() == 1
        assert source.columns[0].num_classes == 3
        assert lists(vtab, num_classes=7).columns[0].num_classes == 7

    def test_a_label_beyond_num_classes_is_refused(self, vtab, lists):
        with pytest.raises(LosaError, match=r"label 2, but dataset\.num_classes=2 allows only 0 to 1"):
            lists(vtab, num_classes=2)

    def test_a_missing_file_is_named_with_list_and_position(self, vtab, lists):
        gone = vtab / "images/val200/1.png"
        gone.unlink()
        source = lists(vtab)
        source.contents("train800")
        with pytest.raises(LosaError, match=f"{vtab}/val200.txt, image 2: there is no file {gone}"):
            source.contents("val200")

    @pytest.mark.parametrize("line", ["images/0.png", "images/0.png x", "images/0.png 1.5", "a.png -1", "7"])
    def test_a_malformed_line_is_named(self, vtab, lists, line):
        (vtab / "val200.txt").write_text(f"images/val200/0.png 0\n\n{line}\n")
        with pytest.raises(LosaError) as caught:
            lists(vtab)
        assert str(caught.value) == f"{vtab}/val200.txt, line 3: expected 'path label', found {line!r}"

    def test_blank_lines_and_spaces_in_names_are_allowed(self, vtab, paint, lists):
        paint(vtab / "my cat.png")
        (vtab / "val200.txt").write_text("\n  my cat.png   2  \r\n\n")
        assert _keys_and_labels(lists(vtab), "val200") == (["my cat.png"], [2])

    def test_an_empty_list_is_refused_when_it_is_asked_for(self, vtab, lists):
        (vtab / "val200.txt").write_text("\n")
        source = lists(vtab)
        assert len(source.contents("train800").keys) == 6
        with pytest.raises(LosaError, match="split 'val200' is empty"):
            source.contents("val200")

    def test_an_image_that_is_listed_twice_is_refused(self, vtab, lists):
        (vtab / "val200.txt").write_text("images/val200/0.png 0\n./images/val200/0.png 0\n")
        with pytest.raises(LosaError, match=r"split 'val200': image 'images/val200/0\.png' is listed twice"):
            lists(vtab).contents("val200")

    def test_a_folder_without_lists_is_told_what_is_expected(self, tmp_path, lists):
        with pytest.raises(LosaError, match=r"has no lists: expected train800\.txt, .*'path label'"):
            lists()

    def test_a_decomposed_name_loads_by_its_composed_key(self, vtab, paint, lists):
        paint(vtab / f"{NFD}.png", 3)
        (vtab / "val200.txt").write_text(f"{NFD}.png 0\n")
        source = lists(vtab)
        assert source.contents("val200").keys == [f"{NFC}.png"]
        assert source.load(f"{NFC}.png").image.size == (16, 20)


def test_every_task_of_vtab_has_a_configuration():
    folder = files("losa.conf") / "dataset/vtab"
    assert {entry.name for entry in folder.iterdir()} == {f"{task}.yaml" for task in VTAB_CLASSES}


@pytest.mark.parametrize("task", VTAB_CLASSES)
def test_the_configuration_of_a_vtab_task_opens_the_community_layout(task, tmp_path, paint):
    classes = VTAB_CLASSES[task]
    names = ["images/train800/000000.png", "images/val200/000000.png", "images/test/000000.png"]
    for seed, name in enumerate(names):
        paint(tmp_path / task / name, seed)
    train, val, test = f"{names[0]} 0\n", f"{names[1]} 1\n", f"{names[2]} {classes - 1}\n"
    written = {"train800": train, "val200": val, "train800val200": train + val, "test": test}
    for split, content in written.items():
        (tmp_path / task / f"{split}.txt").write_text(content)
    values = OmegaConf.to_container(OmegaConf.load(str(files("losa.conf") / f"dataset/vtab/{task}.yaml")))
    config = DatasetConfig(**(values | {"root": str(tmp_path)}))
    assert config.name == f"vtab/{task}"
    source = open_source(config)
    assert source.splits == tuple(written)
    assert source.columns[0].num_classes == classes
    assert _keys_and_labels(source, "train800val200") == (names[:2], [0, 1])
    (tmp_path / task / "test.txt").write_text(f"{names[2]} {classes}\n")
    with pytest.raises(LosaError, match=f"num_classes={classes}"):
        open_source(config)


def _keys_and_labels(source, split):
    contents = source.contents(split)
    return list(contents.keys), contents.labels["label"].tolist()


@pytest.mark.parametrize("path", ["/etc/picture.png", "../picture.png", "a/../../picture.png"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "train800.txt").write_text(f"{path} 0\n")
    source = ListsSource(tmp_path)
    with pytest.raises(
        LosaError, match=r"train800\.txt, image 1: paths are relative to .* and stay below it"
    ):
        source.contents("train800")


def test_other_text_files_beside_the_standard_lists_are_left_alone(vtab: Path) -> None:
    (vtab / "README.txt").write_text("These are the lists of a data set.\n")
    assert ListsSource(vtab).splits == ("train800", "val200", "train800val200")
