import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from losa.cache_format import LosaError
from losa.extract import TorchDatasetSource
from losa.extract.sources import InvalidImage


class Pictures(Dataset):
    """Pictures whose pixels are their numbers."""

    def __init__(self, items, **attributes):
        self.items = items
        self.read = []
        vars(self).update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.read.append(index)
        return Image.new("L", (4, 3), index), self.items[index]


def _labels(source, split):
    return source.contents(split).labels["label"].tolist()


def test_items_are_images_and_labels():
    source = TorchDatasetSource({"train": Pictures([0, 2, 1]), "test": Pictures([4, np.int64(0), None])})
    assert source.splits == ("train", "test")
    assert source.columns[0].num_classes == 5
    assert source.contents("train").keys == ["train/0", "train/1", "train/2"]
    assert _labels(source, "train") == [0, 2, 1]
    assert _labels(source, "test") == [4, 0, -1]
    assert source.read("test/2").getpixel((0, 0)) == 2


@pytest.mark.parametrize("name", ["targets", "labels"])
@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_a_list_of_labels_spares_the_items(name, make):
    labels = list(range(50))
    dataset = Pictures(labels, **{name: make(labels)})
    assert _labels(TorchDatasetSource({"x": dataset}), "x") == labels
    assert len(dataset.read) < 10
    subset = Subset(dataset, [40, 7, 3])
    assert _labels(TorchDatasetSource({"x": subset}), "x") == [40, 7, 3]


@pytest.mark.parametrize(
    "attributes",
    [
        {"targets": [1, 1, 1]},
        {"targets": [0, 1]},
        {"targets": np.zeros((3, 2))},
        {"targets": [0, 5, 1], "target_transform": int},
    ],
)
def test_a_list_that_is_not_that_of_the_items_is_not_believed(attributes):
    assert _labels(TorchDatasetSource({"x": Pictures([0, 2, 1], **attributes)}), "x") == [0, 2, 1]


def test_tensors_have_their_channels_first():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    source = TorchDatasetSource({"x": TensorDataset(images, torch.tensor([1, 0]))})
    assert _labels(source, "x") == [1, 0]
    assert np.array_equal(np.asarray(source.read("x/1")), images[1].numpy().transpose(1, 2, 0))


def test_image_folders_are_read_undecoded(photos):
    source = TorchDatasetSource({"train": ImageFolder(photos / "train")})
    assert source.columns[0].classes == ("ant", "cat")
    keys = source.contents("train").keys
    assert keys[:5] == [f"train/ant/{number}.png" for number in (0, 2, 4, 6)] + ["train/cat/1.png"]
    assert source.read(keys[4]) == (photos / "train/cat/1.png").read_bytes()
    (photos / "train/cat/1.png").unlink()
    with pytest.raises(InvalidImage, match="No such file"):
        source.read(keys[4])
    part = TorchDatasetSource({"train": Subset(ImageFolder(photos / "train"), [5, 0])})
    assert part.contents("train").keys == ["train/cat/5.png", "train/ant/0.png"]
    assert part.read("train/cat/5.png") == source.read("train/cat/5.png")


def test_an_image_folder_that_changes_its_images_is_asked_for_them(photos):
    whole = ImageFolder(photos / "train", transform=lambda image: image.resize((2, 2)))
    assert TorchDatasetSource({"train": whole}).read("train/0").size == (2, 2)


def test_transforms_to_floating_point_are_refused(photos):
    with pytest.raises(LosaError, match=r"uint8, found torch\.float32\. Make the data set without transform"):
        TorchDatasetSource({"train": ImageFolder(photos / "train", transform=ToTensor())})


def test_streams_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from ()

    with pytest.raises(LosaError, match=r"split 'x': Stream is a stream: .*dataset=webdataset"):
        TorchDatasetSource({"x": Stream()})


def test_splits_that_number_other_classes_are_refused(photos):
    with pytest.raises(
        LosaError, match=r"'train' and 'val' number different classes: 2 and 1, of which 1 are"
    ):
        TorchDatasetSource({split: ImageFolder(photos / split) for split in ("train", "val")})


def test_classes_may_be_given():
    assert TorchDatasetSource({"x": Pictures([0, 1])}, classes=["a", "b"]).columns[0].classes == ("a", "b")
    assert TorchDatasetSource({"x": Pictures([0, 1])}, num_classes=7).columns[0].num_classes == 7


def test_labels_of_several_numbers_are_refused():
    with pytest.raises(LosaError, match="expected an integer, or a name of a class"):
        TorchDatasetSource({"x": Pictures([[0, 1], [1, 0]])})


def test_an_image_that_a_data_set_cannot_decode_is_invalid(photos):
    (photos / "train/ant/0.png").write_bytes(b"no image")
    whole = ImageFolder(photos / "train", transform=lambda image: image.resize((2, 2)))
    source = TorchDatasetSource({"train": whole})
    assert _labels(source, "train") == [0, 0, 0, 0, 1, 1, 1]
    with pytest.raises(InvalidImage, match=r"^not an image in a format that Pillow knows$"):
        source.read("train/0")
    assert source.read("train/1").size == (2, 2)
