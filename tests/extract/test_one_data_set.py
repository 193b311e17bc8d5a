"""One data set in every form that it comes in: the same images, so the same codes."""

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from losa.cache_format import Cache, LosaError
from losa.extract import ArraySource, DatasetConfig, TorchDatasetSource, extract, open_source
from losa.extract.changed_images import RECHECKED_IMAGES

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def files(tmp_path, paint):
    """Six pictures of two classes in folders, in the order in which every form has them."""
    return [
        paint(tmp_path / f"photos/train/{name}/{number}.png", seed)
        for seed, (name, number) in enumerate(
            (name, number) for name in ("ant", "cat") for number in range(3)
        )
    ]


@pytest.fixture(params=["lists", "table", "webdataset", "huggingface", "timm", "arrays", "torch"])
def other_form(request, files, tmp_path, pack, save_photos):
    """The same data set in another form."""
    root = tmp_path / request.param
    photos = tmp_path / "photos"
    fields = {"root": str(root)}
    labels = [("ant", "cat").index(file.parent.name) for file in files]
    if request.param == "lists":
        fields["root"] = str(photos)
        lines = [f"{file.relative_to(photos)} {label}" for file, label in zip(files, labels, strict=True)]
        (photos / "train.txt").write_text("\n".join(lines))
    elif request.param == "table":
        fields |= {"root": str(photos), "file": "train.csv"}
        lines = [f"{file.relative_to(photos)},{file.parent.name},train" for file in files]
        (photos / "train.csv").write_text("\n".join(["path,label,split", *lines]))
    elif request.param == "webdataset":
        for shard in range(2):
            members = {}
            for number, file in list(enumerate(files))[3 * shard : 3 * shard + 3]:
                members |= {f"{number:04}.png": file.read_bytes(), f"{number:04}.cls": f"{labels[number]}"}
            pack(root / f"train-{shard}.tar", members)
        fields["index_folder"] = str(tmp_path / "indices")
    elif request.param == "huggingface":
        save_photos(photos, root)
    elif request.param == "timm":
        fields |= {"root": str(photos), "splits": ["train"]}
    elif request.param == "arrays":
        return ArraySource({"train": ([file.read_bytes() for file in files], labels)})
    else:
        return TorchDatasetSource({"train": ImageFolder(photos / "train")})
    return open_source(DatasetConfig(kind=request.param, name="x", **fields))


@pytest.fixture
def extracted(config, tmp_path):
    """``extracted(name, source, **changes)``: the split train of a cache made from a source."""

    def run(name, source, **changes):
        settings = config(
            dataset={"kind": "python"}, cache=str(tmp_path / f"caches/{name}"), splits=["train"], **changes
        )
        extract(settings, source)
        return Cache(settings.cache).split("train")

    return run


def test_codes_and_labels_do_not_depend_on_the_form(files, tmp_path, folder, other_form, extracted):
    plain = extracted("plain", folder(tmp_path / "photos"), workers=0)
    other = extracted("other", other_form, workers=2)
    assert other.labels("label").tolist() == plain.labels("label").tolist() == [0, 0, 0, 1, 1, 1]
    codes, same = plain.read(np.arange(6)), other.read(np.arange(6))
    assert codes.values.tobytes() == same.values.tobytes()
    assert codes.scales.tobytes() == same.scales.tobytes()


def test_a_resumed_extraction_reads_of_a_tar_only_what_is_missing(
    tmp_path, paint, pack, webdataset, extracted
):
    picture = paint(tmp_path / "0.png").read_bytes()
    pack(tmp_path / "s/train-0.tar", {f"{row:03}.png": picture for row in range(40)})

    class Counting:
        """The shards, of which an image cannot be read at the moment."""

        def __init__(self, unreadable):
            self.source = webdataset(tmp_path / "s")
            self.unreadable = unreadable
            self.read_keys = []

        def __getattr__(self, name):
            return getattr(self.source, name)

        def read(self, key):
            self.read_keys.append(key)
            if key == self.unreadable:
                raise LosaError("the disk is busy")
            return self.source.read(key)

    with pytest.raises(LosaError, match="the disk is busy"):
        extracted("cache", Counting("train-0.tar/037.png"), codec="float16")
    again = Counting(None)
    assert len(extracted("cache", again, codec="float16")) == 40
    missing = [f"train-0.tar/{row:03}.png" for row in range(36, 40)]
    assert again.read_keys[-4:] == missing
    assert len(again.read_keys) == len(missing) + RECHECKED_IMAGES
