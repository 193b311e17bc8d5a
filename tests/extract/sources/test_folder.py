import os
import unicodedata

import pytest

from losa.cache_format import LosaError
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.sources import InvalidImage

NFD = unicodedata.normalize("NFD", "größe")
NFC = unicodedata.normalize("NFC", "größe")


def _load(source, key):
    return ImageLoader(source, DEFAULT_DECODING).load(key)


def _keys_and_labels(source, split):
    contents = source.contents(split)
    return list(contents.keys), contents.labels["label"].tolist()


def test_linked_class_folders_and_files_are_followed(photos, tmp_path, paint, folder):
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


def test_a_linked_split_and_root_are_followed(photos, tmp_path, folder):
    (photos / "test").symlink_to(photos / "val")
    (tmp_path / "link").symlink_to(photos)
    source = folder(tmp_path / "link")
    assert source.splits == ("train", "val", "test")
    assert source.contents("test").keys == [f"test/cat/{n}.png" for n in range(3)]


def test_links_in_a_circle_end(photos, folder):
    before = folder(photos).contents("train").keys
    (photos / "train/cat/self").symlink_to(photos / "train/cat")
    (photos / "train/ant/up").symlink_to(photos / "train")
    (photos / "train/ant/itself").symlink_to("itself")
    (photos / "val/out").symlink_to(photos)
    source = folder(photos)
    assert source.contents("train").keys == before
    assert len(source.contents("val").keys) == 3


def test_a_link_that_leads_nowhere_is_an_image_that_is_gone(photos, folder):
    (photos / "val/cat/gone.png").symlink_to(photos / "nowhere.png")
    source = folder(photos)
    assert "val/cat/gone.png" in source.contents("val").keys
    with pytest.raises(InvalidImage, match="No such file"):
        _load(source, "val/cat/gone.png")


def test_a_folder_that_cannot_be_listed_is_named(photos, folder, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("train/cat"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(LosaError, match=r"/train/cat: this folder cannot be listed \(Permission denied\)"):
        folder(photos)


def test_folders_with_images_beside_split_folders_are_refused(photos, paint, folder):
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


def test_a_class_named_like_a_split_is_not_taken_for_one(tmp_path, paint, folder):
    for name in ("car", "train", "bus"):
        paint(tmp_path / f"vehicles/{name}/0.png")
    with pytest.raises(LosaError, match=r"split folders \(train\).* in bus/ \(1\), car/ \(1\)\.\n"):
        folder(tmp_path / "vehicles")
    # What the message proposes works.
    (tmp_path / "vehicles").rename(tmp_path / "train")
    assert folder(tmp_path).columns[0].classes == ("bus", "car", "train")


def test_loose_images_beside_split_folders_are_refused(photos, paint, folder):
    paint(photos / "0.png")
    with pytest.raises(LosaError, match=r"would be left out: in no folder \(1\)"):
        folder(photos)


def test_split_folders_are_the_splits(photos, folder):
    source = folder(photos)
    assert source.splits == ("train", "val")
    assert source.columns[0].classes == ("ant", "cat")
    train = source.contents("train")
    assert train.keys[0] == "train/ant/0.png"
    assert train.labels["label"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    # Only cats: yet the class has the number that it has in training.
    assert source.contents("val").labels["label"].tolist() == [1, 1, 1]


def test_without_split_folders_the_root_is_one_split(photos, folder):
    source = folder(photos / "train")
    assert source.splits == ("all",)
    assert source.columns[0].classes == ("ant", "cat")
    contents = source.contents("all")
    assert contents.keys == [f"ant/{n}.png" for n in (0, 2, 4, 6)] + [f"cat/{n}.png" for n in (1, 3, 5)]
    assert _load(source, "ant/0.png") == _load(folder(photos), "train/ant/0.png")


def test_classes_are_taken_over_all_splits(photos, paint, folder):
    paint(photos / "val/bee/0.png")
    source = folder(photos)
    assert source.columns[0].num_classes == 3
    assert source.contents("train").labels["label"].tolist() == [0, 0, 0, 0, 2, 2, 2]


def test_images_below_no_class_have_no_label(photos, paint, folder):
    paint(photos / "val/loose.png")
    labels = dict(zip(*_keys_and_labels(folder(photos), "val"), strict=True))
    assert labels["val/loose.png"] == -1
    assert labels["val/cat/0.png"] == 1


def test_a_folder_without_classes_has_no_labels(tmp_path, paint, folder):
    for number in range(3):
        paint(tmp_path / f"{number}.png", number)
    source = folder()
    assert source.columns[0].num_classes == 0
    assert source.contents("all").labels["label"].tolist() == [-1, -1, -1]


def test_deeper_folders_belong_to_the_class_above(tmp_path, paint, folder):
    paint(tmp_path / "cat/wild/big/1.png")
    source = folder()
    assert source.columns[0].classes == ("cat",)
    assert source.contents("all").keys == ["cat/wild/big/1.png"]


def test_other_files_are_passed_over_and_capitals_are_not(tmp_path, paint, folder):
    paint(tmp_path / "cat/1.JPG")
    (tmp_path / "cat/notes.txt").write_text("x")
    (tmp_path / "cat/2.png").mkdir()
    assert folder().contents("all").keys == ["cat/1.JPG"]


def test_no_images_are_refused_with_what_would_count(tmp_path, folder):
    (tmp_path / "train").mkdir()
    with pytest.raises(LosaError, match=r"holds no images \(.*\.jpeg.*\.png.*\)"):
        folder()


def test_a_decomposed_name_loads_by_its_composed_key(tmp_path, paint, folder):
    path = paint(tmp_path / f"cat/{NFD}.png", 3)
    source = folder()
    assert source.contents("all").keys == [f"cat/{NFC}.png"]
    assert _load(source, f"cat/{NFC}.png").image.size == (16, 20)
    assert path.name != f"{NFC}.png"


def test_two_spellings_of_a_class_are_one_class(tmp_path, paint, folder):
    paint(tmp_path / f"train/{NFC}/1.png")
    paint(tmp_path / f"val/{NFD}/2.png")
    source = folder()
    assert source.columns[0].classes == (NFC,)
    assert source.contents("val").labels["label"].tolist() == [0]


def test_two_spellings_of_one_file_name_are_refused(tmp_path, paint, folder):
    paint(tmp_path / f"cat/{NFC}.png", 1)
    paint(tmp_path / f"cat/{NFD}.png", 2)
    with pytest.raises(LosaError, match="is listed twice"):
        folder().contents("all")


def test_every_format_that_pillow_decodes_is_an_image(tmp_path, paint, folder):
    names = ["1.jpg", "2.webp", "3.bmp", "4.TIF", "5.gif", "6.ppm", "7.jp2"]
    for name in names:
        paint(tmp_path / f"cat/{name}")
    assert folder().contents("all").keys == [f"cat/{name}" for name in names]
    assert folder().notes == ()


def test_what_is_left_out_is_counted_by_extension(photos, folder):
    for name in ("train/ant/1.txt", "train/ant/2.TXT", "val/x.json", "README", "train/ant/old."):
        (photos / name).write_text("x")
    (note,) = folder(photos).notes
    assert note == (
        "files that are no images that Pillow opens are left out: 2 .txt, 1 without extension, 1 ., 1 .json"
    )


def test_hidden_names_are_left_out_and_told(photos, paint, folder):
    before = folder(photos).contents("train").keys
    paint(photos / "train/.ipynb_checkpoints/0.png")
    paint(photos / "train/cat/._1.jpg")
    paint(photos / "__MACOSX/train/cat/1.png")
    source = folder(photos)
    assert source.splits == ("train", "val")
    assert source.contents("train").keys == before
    assert source.notes == (
        "hidden files and folders are left out: __MACOSX, train/.ipynb_checkpoints, train/cat/._1.jpg",
    )


def test_folders_of_numbers_are_in_the_order_of_the_numbers(tmp_path, paint, folder):
    for number in range(11):
        paint(tmp_path / f"train/{number}/1.png")
    source = folder()
    assert source.columns[0].classes == tuple(str(number) for number in range(11))
    labels = dict(zip(*_keys_and_labels(source, "train"), strict=True))
    assert labels == {f"train/{number}/1.png": number for number in range(11)}
    assert source.notes == ()
    # One name that is no number: all are sorted as text.
    paint(tmp_path / "train/none/1.png")
    assert folder().columns[0].classes[:3] == ("0", "1", "10")


def test_numbers_that_are_not_the_labels_are_told(tmp_path, paint, folder):
    for number in ("08", "9", "10"):
        paint(tmp_path / f"{number}/1.png")
    source = folder()
    assert source.columns[0].classes == ("08", "9", "10")
    assert source.notes == (
        "the class folders are named by numbers, but not by 0 to 2: the label of 08/ is 0, and so on in the "
        "order of the numbers",
    )


def test_folders_without_images_are_no_classes_and_told(photos, folder):
    (photos / "train/bee").mkdir()
    (photos / "train/cow/deep").mkdir(parents=True)
    (photos / "val/ant").mkdir()
    source = folder(photos)
    assert source.columns[0].classes == ("ant", "cat")
    assert source.notes == ("folders without images are no classes: train/bee, train/cow, val/ant",)
    (photos / "train/cat/none").mkdir()
    assert folder(photos / "train").notes == ("folders without images are no classes: bee, cow",)


def test_what_is_left_out_is_told_where_nothing_is_left(tmp_path, folder):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.heic").write_text("x")
    with pytest.raises(LosaError, match=r"holds no images \(.*\)\n.*left out: 1 \.heic$"):
        folder()


def test_capitals_in_the_names_of_splits_do_not_matter(photos, folder):
    (photos / "train").rename(photos / "Train")
    source = folder(photos)
    assert source.splits == ("Train", "val")
    assert source.columns[0].classes == ("ant", "cat")


def test_the_order_is_that_of_the_components_of_paths(tmp_path, paint, folder):
    for name in ("a/z.png", "a-b/1.png", "a.png", "B/1.png"):
        paint(tmp_path / name)
    assert folder().contents("all").keys == ["B/1.png", "a/z.png", "a-b/1.png", "a.png"]
