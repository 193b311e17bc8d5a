import pickle
import tarfile

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

from losa.cache_format import LosaError
from losa.extract import DatasetConfig, open_source
from losa.extract.sources import InvalidImage


@pytest.fixture
def timm(tmp_path):
    """``timm(source, root, **fields)``: a data set by its name in timm."""
    return lambda source, root=tmp_path, **fields: open_source(
        DatasetConfig(kind="timm", name="t", source=source, root=str(root), **fields)
    )


@pytest.fixture
def cifar(tmp_path):
    """Six images in the layout of CIFAR-10, whose checksums torchvision does not compare here."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3 * 32 * 32), np.uint8)
    for number, name in enumerate(
        ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
    ):
        batch = {"data": pixels[2 * number : 2 * number + 2], "labels": [number, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "test_batch").write_bytes(pickle.dumps({"data": pixels[10:], "labels": [3, 0]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    return pixels.reshape(12, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.fixture
def _no_checksums(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


@pytest.mark.usefixtures("_no_checksums")
def test_a_data_set_of_torchvision(cifar, timm):
    source = timm("torch/cifar10")
    assert source.splits == ("train", "validation")
    assert source.columns[0].classes == tuple("abcdefghij")
    assert source.contents("train").labels["label"].tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert source.contents("validation").labels["label"].tolist() == [3, 0]
    assert np.array_equal(np.asarray(source.read("validation/1")), cifar[11])


@pytest.mark.usefixtures("_no_checksums", "cifar")
def test_two_names_of_one_split_are_refused(timm):
    assert timm("torch/cifar10", splits=["train", "test"]).splits == ("train", "test")
    with pytest.raises(LosaError, match=r"dataset\.splits: 'test' and 'val' are the same images"):
        timm("torch/cifar10", splits=["train", "test", "val"])


def test_nothing_is_downloaded_unless_it_is_asked_for(timm, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("downloads")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    with pytest.raises(
        LosaError, match=r"dataset\.source=torch/cifar10, split 'train'.*dataset\.download=true"
    ):
        timm("torch/cifar10")
    with pytest.raises(LosaError, match=r"dataset\.source=hfds/x/y is downloaded .*dataset\.download=true"):
        timm("hfds/x/y")
    with pytest.raises(LosaError, match="AssertionError: downloads"):
        timm("torch/cifar10", download=True)


def test_a_folder_is_read_undecoded(photos, timm, paint):
    paint(photos / "val/ant/9.png", 9)
    source = timm(None, photos, splits=["train", "val"])
    assert source.columns[0].classes == ("ant", "cat")
    assert source.contents("val").keys == ["val/ant/9.png", "val/cat/0.png", "val/cat/1.png", "val/cat/2.png"]
    assert source.contents("val").labels["label"].tolist() == [0, 1, 1, 1]
    assert source.read("val/cat/0.png") == (photos / "val/cat/0.png").read_bytes()
    (photos / "val/cat/0.png").unlink()
    with pytest.raises(InvalidImage, match=r"^No such file or directory$"):
        source.read("val/cat/0.png")


def test_a_damaged_image_is_not_replaced_by_another(photos, timm):
    (photos / "train/ant/0.png").write_bytes(b"no image")
    assert timm(None, photos, splits=["train"]).read("train/ant/0.png") == b"no image"


def test_a_folder_without_such_a_split_is_not_taken_for_it(photos, timm):
    with pytest.raises(LosaError, match="are the same images"):
        timm(None, photos / "train", splits=["train", "validation"])


def test_splits_that_number_other_classes_are_refused(photos, timm):
    with pytest.raises(LosaError, match="'train' and 'val' number different classes"):
        timm(None, photos, splits=["train", "val"])


# timm leaves the handle of a tar to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_tar_with_folders_of_classes(photos, timm, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(photos / "train", "all")
    source = timm(None, tmp_path / "x.tar", splits=["train"])
    assert source.columns[0].classes == ("ant", "cat")
    keys = source.contents("train").keys
    assert len(keys) == 7
    for key, label in zip(keys, source.contents("train").labels["label"], strict=True):
        name = key.rpartition("/")[2]
        assert source.read(key) == (photos / f"train/{('ant', 'cat')[label]}/{name}").read_bytes()


def test_a_data_set_of_hugging_face(photos, timm, monkeypatch):
    pictures = sorted((photos / "train").rglob("*.png"))
    data = Dataset.from_dict(
        {
            "image": [{"bytes": file.read_bytes(), "path": file.name} for file in pictures],
            "label": [("ant", "cat").index(file.parent.name) for file in pictures],
        },
        features=Features({"image": Image(), "label": ClassLabel(names=["ant", "cat"])}),
    )
    both = DatasetDict(train=data, test=data.select([0, 4]))
    monkeypatch.setattr("datasets.load_dataset", lambda name, split, **_: both[split])
    source = timm("hfds/x/y", splits=["train", "test"], download=True)
    assert source.splits == ("train", "test")
    assert source.columns[0].classes == ("ant", "cat")
    assert source.contents("test").keys == [f"test/{pictures[row].name}" for row in (0, 4)]
    assert source.contents("test").labels["label"].tolist() == [0, 1]
    assert source.read(f"test/{pictures[4].name}") == pictures[4].read_bytes()


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("wds/x-{0..3}.tar", r"dataset=webdataset reads such shards"),
        ("hfids/x/y", r"hfds/ reads the same data sets"),
        ("TFDS/mnist", r"write it to shards once"),
    ],
)
def test_streams_are_refused_with_what_to_do_instead(timm, source, advice):
    with pytest.raises(
        LosaError, match=rf"dataset\.source={source.partition('{')[0]}.* is a stream: .*{advice}"
    ):
        timm(source)


def test_an_unknown_name_is_named(timm):
    with pytest.raises(LosaError, match=r"dataset\.source=torch/nonsense, .*Unknown torchvision dataset"):
        timm("torch/nonsense")
