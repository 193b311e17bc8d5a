import numpy as np
import pytest
from PIL import Image

from losa.cache_format import Cache, LosaError
from losa.extract import ArraySource, extract


def _images(count=3, *shape):
    return np.random.default_rng(0).integers(0, 256, (count, *(shape or (6, 5, 3))), np.uint8)


def _same(image, array):
    return np.array_equal(np.asarray(image), array)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 3), (6, 5, 4)])
def test_arrays_are_their_pixels(shape):
    images = _images(3, *shape)
    source = ArraySource({"train": (images, None)})
    assert source.contents("train").keys == ["train/0", "train/1", "train/2"]
    for row in range(3):
        assert _same(source.read(f"train/{row}"), images[row].squeeze())


def test_single_images_may_be_of_any_kind_and_size(paint, tmp_path):
    encoded = paint(tmp_path / "1.png").read_bytes()
    picture = Image.new("RGBA", (3, 4))
    source = ArraySource({"x": ([encoded, picture, _images(1, 2, 2)[0]], None)})
    assert source.read("x/0") == encoded
    assert source.read("x/1") == picture
    assert source.read("x/2").size == (2, 2)


def test_labels_are_counted_over_all_splits():
    source = ArraySource({"train": (_images(), [0, 1, -1]), "test": (_images(2), np.array([4, 0]))})
    assert source.columns[0].num_classes == 5
    assert source.contents("train").labels["label"].tolist() == [0, 1, -1]
    assert source.contents("test").labels["label"].tolist() == [4, 0]
    assert ArraySource({"x": (_images(), [0, 0, 1])}, num_classes=9).columns[0].num_classes == 9
    assert ArraySource({"x": (_images(), [0, 0, 1])}, classes="abc").columns[0].classes == ("a", "b", "c")


def test_labels_may_be_names_or_missing():
    source = ArraySource({"train": (_images(), ["dog", None, "cat"]), "test": (_images(1), ["ant"])})
    assert source.columns[0].classes == ("ant", "cat", "dog")
    assert source.contents("train").labels["label"].tolist() == [2, -1, 1]
    unlabelled = ArraySource({"x": (_images(), None)})
    assert unlabelled.columns[0].num_classes == 0
    assert unlabelled.contents("x").labels["label"].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (_images().astype(np.float32), r"split 'x', image 0: expected dtype uint8, found float32.*1 or 255"),
        (_images().astype(np.int64), r"found int64"),
        (_images(3, 3, 6, 5), r"found \(3, 6, 5\)\. Channels come last: \.transpose\(0, 2, 3, 1\)"),
        ([[1, 2], [3, 4], [5, 6]], r"expected an array of dtype uint8, .* found list"),
        ([], r"split 'x' is empty"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(LosaError, match=message):
        ArraySource({"x": (images, None)})


def test_a_later_image_of_another_kind_is_refused_when_it_is_read():
    source = ArraySource({"x": ([_images(1)[0], _images(1)[0] / 255], None)})
    with pytest.raises(LosaError, match="image 1: expected dtype uint8, found float64"):
        source.read("x/1")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1], {}, r"split 'x': 3 images, but 2 labels"),
        ([0, 1.5, 2], {}, r"expected an integer, or a name of a class"),
        ([[0, 1], [1, 0], [0, 0]], {}, r"expected an integer, or a name of a class"),
        ([0, -2, 1], {}, r"expected labels from 0, or -1 .* found -2"),
        ([0, 1, 2], {"num_classes": 2}, r"num_classes=2 allows only 0 to 1"),
        ([0, 1, 2], {"classes": ("a", "b")}, r"allows only 0 to 1"),
    ],
)
def test_wrong_labels_are_refused(labels, options, message):
    with pytest.raises(LosaError, match=message):
        ArraySource({"x": (_images(), labels)}, **options)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("shapes_are_not_checked")
def test_a_program_extracts_what_it_has(config, workers):
    source = ArraySource({"train": (_images(5, 32, 32, 3), [0, 1, 2, 1, 0])})
    settings = config(dataset={"kind": "python", "name": "mine"}, workers=workers)
    extract(settings, source)
    split = Cache(settings.cache).split("train")
    assert split.keys[:2] == ["train/0", "train/1"]
    assert split.labels("label").tolist() == [0, 1, 2, 1, 0]
    assert split.cache.manifest.dataset == "mine"
    assert extract(settings, source).images == 0


def test_without_the_source_it_is_asked_for(config):
    with pytest.raises(
        LosaError, match=r"dataset=mine is one that a program has: extract\(config, source=\.\.\.\)"
    ):
        extract(config(dataset={"kind": "python", "name": "mine"}))
