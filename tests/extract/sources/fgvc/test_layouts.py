import json
from importlib.resources import files

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.io import savemat

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source


@pytest.fixture
def fgvc(tmp_path):
    """``fgvc(name)``: the data set of a preset, in the temporary folder."""

    def make(name):
        values = OmegaConf.to_container(OmegaConf.load(str(files("losa.conf") / f"dataset/fgvc/{name}.yaml")))
        return open_source(DatasetConfig(**(values | {"root": str(tmp_path)})))

    return make


def described(source):
    """Split -> names of the images' classes, by key."""
    (column,) = source.columns
    found = {}
    for split in source.splits:
        contents = source.contents(split)
        names = [None if label < 0 else column.classes[label] for label in contents.labels["label"]]
        found[split] = dict(zip(contents.keys, names, strict=True))
    return found


@pytest.fixture
def birds(tmp_path, paint):
    """``birds(classes)``: three images of two classes; number, folder and name of each class are given."""

    def make(classes):
        (first, folder, name), (second, other, longer) = classes
        for path in (f"{folder}/a.jpg", f"{other}/b.jpg", f"{other}/c.jpg"):
            paint(tmp_path / "images" / path)
        written = {
            "images.txt": f"i1 {folder}/a.jpg\ni2 {other}/b.jpg\ni3 {other}/c.jpg\n",
            "image_class_labels.txt": f"i1 {first}\ni2 {second}\ni3 {second}\n",
            "train_test_split.txt": "i1 1\ni2 0\ni3 1\n",
            "classes.txt": f"{first} {name}\n9 Unused\n{second} {longer}\n",
        }
        for file, content in written.items():
            (tmp_path / file).write_text(content)

    return make


def test_cub(birds, fgvc):
    birds([(1, "001.Albatross", "001.Albatross"), (2, "002.Auklet", "002.Auklet")])
    assert described(fgvc("cub")) == {
        "train": {"images/001.Albatross/a.jpg": "001.Albatross", "images/002.Auklet/c.jpg": "002.Auklet"},
        "test": {"images/002.Auklet/b.jpg": "002.Auklet"},
    }


def test_nabirds_has_numbers_with_gaps_which_are_closed(birds, fgvc):
    birds([(1010, "1010", "Dark-eyed Junco"), (295, "0295", "Eared Grebe (Breeding)")])
    source = fgvc("nabirds")
    assert source.columns[0].classes == ("Eared Grebe (Breeding)", "Dark-eyed Junco")
    assert source.contents("train").labels["label"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images.txt", "i1\n", r"images\.txt, line 1: expected two values, found 'i1'"),
        ("image_class_labels.txt", "i1 1\n", r"image_class_labels\.txt lacks image i2, which .*images\.txt"),
        (
            "image_class_labels.txt",
            "i1 x\n",
            r"labels\.txt, line 1: expected the number of a class, found 'x'",
        ),
        (
            "train_test_split.txt",
            "i1 2\n",
            r"split\.txt, line 1: expected 1 \(train\) or 0 \(test\), found '2'",
        ),
    ],
)
def test_wrong_lists_of_birds_are_named(birds, fgvc, tmp_path, file, content, message):
    birds([(1, "001.A", "001.A"), (2, "002.B", "002.B")])
    (tmp_path / file).write_text(content)
    with pytest.raises(LosaError, match=message):
        fgvc("cub")
    (tmp_path / file).unlink()
    with pytest.raises(LosaError, match=rf"{file} cannot be read: No such file"):
        fgvc("cub")


def test_a_missing_picture_of_a_bird_is_named_with_its_line(birds, fgvc, tmp_path):
    birds([(1, "001.A", "001.A"), (2, "002.B", "002.B")])
    (tmp_path / "images/002.B/c.jpg").unlink()
    with pytest.raises(LosaError, match=r"images\.txt, line 3: there is no file"):
        fgvc("cub").contents("train")


def test_flowers(fgvc, tmp_path, paint):
    for number in range(1, 6):
        paint(tmp_path / f"jpg/image_{number:05d}.jpg", number)
    savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[77, 77, 5, 5, 102]], np.uint8)})
    savemat(tmp_path / "setid.mat", {"trnid": [[3, 1]], "valid": [[5]], "tstid": [[2, 4]]})
    assert described(fgvc("flowers")) == {
        "train": {"jpg/image_00003.jpg": "5", "jpg/image_00001.jpg": "77"},
        "val": {"jpg/image_00005.jpg": "102"},
        "test": {"jpg/image_00002.jpg": "77", "jpg/image_00004.jpg": "5"},
    }
    for wrong, message in (
        ([[3, 6]], "trnid has numbers beyond the 5 images"),
        ("abc", "expected numbers in"),
    ):
        savemat(tmp_path / "setid.mat", {"trnid": wrong, "valid": [[5]], "tstid": [[2, 4]]})
        with pytest.raises(LosaError, match=rf"setid\.mat: {message}"):
            fgvc("flowers")


@pytest.mark.parametrize("folder", ["", "lists"])
def test_dogs(fgvc, tmp_path, paint, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    lists = {"train": ["n02-Chihuahua/1.jpg", "n01-Pug/2.jpg"], "test": ["n01-Pug/3.jpg"]}
    for split, paths in lists.items():
        for path in paths:
            paint(tmp_path / "Images" / path)
        labels = [[2] if "Chihuahua" in path else [1] for path in paths]
        cells = np.array([[path] for path in paths], object)
        savemat(tmp_path / folder / f"{split}_list.mat", {"file_list": cells, "labels": labels})
    source = fgvc("dogs")
    assert source.columns[0].classes == ("n01-Pug", "n02-Chihuahua")
    assert described(source) == {
        "train": {"Images/n02-Chihuahua/1.jpg": "n02-Chihuahua", "Images/n01-Pug/2.jpg": "n01-Pug"},
        "test": {"Images/n01-Pug/3.jpg": "n01-Pug"},
    }


def annotations(*entries):
    """A MATLAB array of structures, as in the devkit of Stanford Cars."""
    fields = list(entries[0])
    array = np.zeros((1, len(entries)), [(field, object) for field in fields])
    for index, entry in enumerate(entries):
        array[0, index] = tuple(entry[field] for field in fields)
    return {"annotations": array}


@pytest.fixture
def cars(tmp_path, paint):
    for path in ("cars_train/1.jpg", "cars_train/2.jpg", "cars_test/cars_test/1.jpg"):
        paint(tmp_path / path)
    (tmp_path / "devkit").mkdir()
    train = annotations(
        {"bbox_x1": 3, "class": 2, "fname": "1.jpg"}, {"bbox_x1": 3, "class": 1, "fname": "2.jpg"}
    )
    savemat(tmp_path / "devkit/cars_train_annos.mat", train)
    savemat(tmp_path / "devkit/cars_test_annos.mat", annotations({"bbox_x1": 3, "fname": "1.jpg"}))
    names = np.array([["Acura Integra", "BMW M3"]], object)
    savemat(tmp_path / "devkit/cars_meta.mat", {"class_names": names})
    return tmp_path


@pytest.mark.parametrize("place", ["", "devkit"])
def test_cars(fgvc, cars, place):
    labelled = annotations({"class": 2, "fname": "1.jpg"})
    savemat(cars / place / "cars_test_annos_withlabels.mat", labelled)
    source = fgvc("cars")
    assert described(source) == {
        "train": {"cars_train/1.jpg": "BMW M3", "cars_train/2.jpg": "Acura Integra"},
        "test": {"cars_test/cars_test/1.jpg": "BMW M3"},
    }
    assert source.notes == ()


def test_cars_without_the_labels_of_the_test_split_say_so(fgvc, cars):
    source = fgvc("cars")
    assert source.contents("test").labels["label"].tolist() == [-1]
    assert source.notes == (
        f"{cars}/devkit/cars_test_annos.mat has no labels: the images of split 'test' have none",
    )


def test_damaged_and_missing_matlab_files_are_named(fgvc, cars, monkeypatch):
    (cars / "devkit/cars_meta.mat").write_bytes(b"no matlab file" * 20)
    with pytest.raises(LosaError, match=r"cars_meta\.mat is no MATLAB file that can be read"):
        fgvc("cars")
    savemat(cars / "devkit/cars_test_annos.mat", {"annotations": [1, 2]})
    with pytest.raises(LosaError, match=r"cars_test_annos\.mat: expected annotations with the field fname"):
        fgvc("cars")
    savemat(cars / "devkit/cars_test_annos.mat", annotations({"fname": "1.jpg"}))
    savemat(cars / "devkit/cars_meta.mat", {"names": [1]})
    with pytest.raises(LosaError, match=r"cars_meta\.mat has no variable 'class_names'"):
        fgvc("cars")
    (cars / "devkit/cars_meta.mat").unlink()
    with pytest.raises(LosaError, match=r"cars_meta\.mat cannot be read: No such file"):
        fgvc("cars")
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[fgvc\]'"):
        fgvc("cars")


def test_the_lists_of_vpt_are_preferred_and_told(birds, fgvc, tmp_path):
    birds([(1, "001.A", "001.A"), (2, "002.B", "002.B")])
    lists = {"train": {"002.B/b.jpg": 2}, "val": {"002.B/c.jpg": 2}, "test": {"001.A/a.jpg": 1}}
    for split, content in lists.items():
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    source = fgvc("cub")
    assert described(source) == {
        "train": {"images/002.B/b.jpg": "002.B"},
        "val": {"images/002.B/c.jpg": "002.B"},
        "test": {"images/001.A/a.jpg": "001.A"},
    }
    assert source.notes == (
        f"{tmp_path}: the splits are those of train.json, val.json, test.json; to use the official ones, "
        "move these files away",
    )


def test_classes_of_vpts_lists_that_are_no_folders_are_named_by_their_numbers(fgvc, tmp_path, paint):
    for number in range(3):
        paint(tmp_path / f"jpg/{number}.jpg")
    (tmp_path / "train.json").write_text(json.dumps({"jpg/0.jpg": 11, "jpg/1.jpg": 9}))
    (tmp_path / "test.json").write_text(json.dumps({"jpg/2.jpg": 10}))
    source = fgvc("flowers")
    assert source.columns[0].classes == ("9", "10", "11")
    assert source.contents("train").labels["label"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"train\.json is no JSON"),
        ("[" * 10**5, r"train\.json is no JSON"),
        ("[1]", r"train\.json: expected an object, of paths and their classes"),
        (
            '{"a.jpg": [1]}',
            r"train\.json: expected paths and numbers or names of classes, found 'a.jpg': \[1\]",
        ),
        ('{"a.jpg": 1, "b.jpg": "x"}', r"some classes are numbers and some are names"),
        ('{"a.jpg": 1, "../b.jpg": 1}', r"train\.json, entry 2: paths are relative to"),
        ('{"gone.jpg": 1}', r"train\.json, entry 1: there is no file .*gone\.jpg"),
    ],
)
def test_wrong_lists_of_vpt_are_named(fgvc, tmp_path, content, message):
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(LosaError, match=message):
        fgvc("flowers").contents("train")


def test_a_layout_has_to_be_named(tmp_path):
    with pytest.raises(LosaError, match=r"needs dataset\.layout=cub\|nabirds\|flowers\|dogs\|cars"):
        open_source(DatasetConfig(kind="fgvc", name="f", root=str(tmp_path)))
