import numpy as np
import pytest
from datasets import Array3D, ClassLabel, Dataset, DatasetDict, Features, Image, Value

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source
from losa.extract.sources import InvalidImage


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf-cache"))


@pytest.fixture
def pictures(paint, tmp_path):
    """The bytes of four pictures."""
    return [paint(tmp_path / f"{seed}.png", seed).read_bytes() for seed in range(4)]


@pytest.fixture
def rows(pictures):
    """A data set of four rows with label columns of several types; one of them has no label."""
    return Dataset.from_dict(
        {
            "image": [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(pictures)],
            "label": [0, 1, None, 1],
            "number": [3, 0, -1, 1],
            "name": ["b", "a", None, "c"],
            "score": [0.5, 1.0, 2.0, 3.0],
        },
        features=Features(
            {
                "image": Image(),
                "label": ClassLabel(names=["cat", "dog", "cow"]),
                "number": Value("int32"),
                "name": Value("string"),
                "score": Value("float32"),
            }
        ),
    )


@pytest.fixture
def saved(tmp_path):
    """``saved(data, **fields)``: the source of a data set that ``save_to_disk`` wrote."""

    def make(data, **fields):
        data.save_to_disk(tmp_path / "saved")
        return open_source(
            DatasetConfig(kind="huggingface", name="h", root=str(tmp_path / "saved"), **fields)
        )

    return make


def test_splits_keys_labels_and_original_bytes(rows, saved, pictures):
    source = saved(DatasetDict(test=rows.select([3, 1]), train=rows.shuffle(seed=1)))
    assert source.splits == ("train", "test")
    (column,) = source.columns
    assert (column.name, column.num_classes, column.classes) == ("label", 3, ("cat", "dog", "cow"))
    contents = source.contents("test")
    assert contents.keys == ["test/3.png", "test/1.png"]
    assert contents.labels["label"].tolist() == [1, 1]
    train = source.contents("train")
    assert sorted(train.keys) == [f"train/{row}.png" for row in range(4)]
    for key, label in zip(train.keys, train.labels["label"], strict=True):
        row = int(key[len("train/")])
        assert source.read(key) == pictures[row]
        assert label == [0, 1, -1, 1][row]


def test_a_data_set_without_splits_is_one(rows, saved):
    assert saved(rows).splits == ("all",)


def test_parquet_files_are_opened(rows, tmp_path, pictures):
    (tmp_path / "p").mkdir()
    rows.to_parquet(tmp_path / "p/train-00000-of-00001.parquet")
    source = open_source(DatasetConfig(kind="huggingface", name="h", root=str(tmp_path / "p")))
    assert source.splits == ("train",)
    assert source.columns[0].classes == ("cat", "dog", "cow")
    assert source.read("train/2.png") == pictures[2]


def test_several_label_columns_over_all_splits(rows, saved):
    source = saved(
        DatasetDict(train=rows.select([1, 2]), test=rows.select([0, 3])),
        label_columns=["label", "number", "name"],
    )
    assert [(one.name, one.num_classes, one.classes) for one in source.columns] == [
        ("label", 3, ("cat", "dog", "cow")),
        ("number", 4, None),
        ("name", 3, ("a", "b", "c")),
    ]
    labels = source.contents("train").labels
    assert {name: values.tolist() for name, values in labels.items()} == {
        "label": [1, -1],
        "number": [0, -1],
        "name": [0, -1],
    }
    assert source.contents("test").labels["number"].dtype == np.int64


def test_a_usual_name_is_a_label_where_no_column_has_classes(rows, saved):
    plain = rows.cast_column("label", Value("int64"))
    source = saved(plain)
    assert [(one.name, one.num_classes, one.classes) for one in source.columns] == [("label", 2, None)]


def test_without_labels_it_says_which_columns_there_are(rows, saved):
    source = saved(rows.select_columns(["image", "score"]))
    assert source.columns == ()
    (note,) = source.notes
    assert note.endswith("has no labels that are known as such: it has image (Image), score (Value)")


def test_names_that_are_not_unique_give_way_to_numbers(pictures, saved):
    images = [{"bytes": data, "path": "image.png"} for data in pictures]
    source = saved(Dataset.from_dict({"image": images}, features=Features({"image": Image()})))
    assert source.contents("all").keys == ["all/0", "all/1", "all/2", "all/3"]
    assert source.read("all/2") == pictures[2]


def test_images_that_are_files_are_read_and_missing_ones_are_invalid(tmp_path, paint, saved):
    paths = [str(paint(tmp_path / f"files/{row}.png", row)) for row in range(2)] + [
        str(tmp_path / "gone.png")
    ]
    data = Dataset.from_dict(
        {"image": [{"bytes": None, "path": path} for path in paths] + [None]},
        features=Features({"image": Image()}),
    )
    from losa.extract.sources.huggingface import from_datasets

    source = from_datasets({"all": data}, "memory", None, None, None)
    assert source.read("all/1") == (tmp_path / "files/1.png").read_bytes()
    for key in ("all/2", "all/3"):
        with pytest.raises(InvalidImage):
            source.read(key)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_column": "name"}, r"no images in column 'name' in image \(Image\), .*image_column=image"),
        (
            {"label_columns": ["species"]},
            r"no column 'species'; it has image \(Image\), label \(ClassLabel\)",
        ),
        ({"label_columns": ["score"]}, r"expected numbers or names of classes in column 'score'"),
        ({"num_classes": 2}, r"num_classes=2, but column 'label' has 3 classes"),
        ({"label_columns": ["number"], "num_classes": 2}, r"num_classes=2 allows only 0 to 1"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(rows, saved, fields, message):
    with pytest.raises(LosaError, match=message):
        saved(rows, **fields)


def test_of_several_image_columns_one_has_to_be_told(rows, saved):
    both = rows.add_column("mask", rows.with_format("arrow")[:]["image"].to_pylist()).cast_column(
        "mask", Image()
    )
    with pytest.raises(LosaError, match=r"found 2 columns of images in .*dataset\.image_column=image"):
        saved(both)


def test_images_of_another_type_are_refused_with_the_way_to_convert(saved):
    data = Dataset.from_dict(
        {"pixels": np.zeros((2, 4, 4, 3), np.uint8)},
        features=Features({"pixels": Array3D((4, 4, 3), "uint8")}),
    )
    with pytest.raises(LosaError, match=r"found 0 columns of images in pixels \(Array3D\): .*cast_column"):
        saved(data)


def test_a_folder_of_something_else_is_named(tmp_path):
    config = DatasetConfig(kind="huggingface", name="h", root=str(tmp_path / "x"))
    with pytest.raises(LosaError, match=r"dataset\.root: there is no folder"):
        open_source(config)
    (tmp_path / "x").mkdir()
    (tmp_path / "x/state.json").write_text("{")
    with pytest.raises(LosaError, match=r"cannot be opened as a data set of Hugging Face"):
        open_source(config)


def test_without_the_library_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(LosaError, match=r"pip install 'losa\[huggingface\]'"):
        open_source(DatasetConfig(kind="huggingface", name="h", root=str(tmp_path)))
