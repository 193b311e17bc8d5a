import numpy as np
import pytest
from PIL import Image

from losa.cache_format import LosaError
from losa.cache_format.views import View
from losa.extract.config import MAX_PIXELS
from losa.extract.loader import ImageLoader
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import hash_source
from losa.extract.views import make_view


class OneImage:
    """A source of one image, of a given content."""

    splits = ("all",)
    columns = ()
    notes = ()

    def __init__(self, stored):
        self.stored = stored

    def contents(self, split):
        raise NotImplementedError

    def read(self, key):
        assert key == "a.png"
        return self.stored


@pytest.fixture
def picture(paint, tmp_path):
    return paint(tmp_path / "a.png", 3)


def test_bytes_and_pixels_are_the_same_image_with_a_hash_each(picture):
    pixels = Image.open(picture).convert("RGB")
    for stored in (picture.read_bytes(), pixels):
        loaded = ImageLoader(OneImage(stored), DEFAULT_DECODING).load("a.png")
        assert np.array_equal(np.asarray(loaded.image), np.asarray(pixels))
        assert loaded.source_hash == hash_source(stored)
    assert hash_source(picture.read_bytes()) != hash_source(pixels)


def test_a_view_is_made_of_the_decoded_image(picture):
    key = View(number=1, crop=0.5, flip=True).key("a.png")
    loader = ImageLoader(OneImage(picture.read_bytes()), DEFAULT_DECODING)
    image = loader.load("a.png")
    expected = make_view(image.image, View(number=1, crop=0.5, flip=True), key)
    view = loader.load(key)
    assert np.array_equal(np.asarray(view.image), np.asarray(expected))
    assert view.source_hash == image.source_hash


def test_the_limit_of_pixels_is_passed_on(picture):
    loader = ImageLoader(OneImage(picture.read_bytes()), DEFAULT_DECODING, max_pixels=10)
    with pytest.raises(InvalidImage, match="max_pixels=10"):
        loader.load("a.png")
    assert ImageLoader(OneImage(b""), DEFAULT_DECODING).max_pixels == MAX_PIXELS


def test_too_little_memory_is_no_property_of_the_image(picture, monkeypatch):
    def hungry(*arguments):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", hungry)
    monkeypatch.setattr(Image.Image, "convert", hungry)
    with pytest.raises(LosaError, match=r"^a\.png: not enough memory\. ") as caught:
        ImageLoader(OneImage(Image.new("RGB", (2, 2))), DEFAULT_DECODING).load("a.png")
    assert not isinstance(caught.value, InvalidImage)


def test_a_key_in_the_form_of_a_views_may_be_a_file_of_that_name(picture):
    key = View(number=1, crop=0.5, flip=True).key("a.png")

    class File(OneImage):
        def read(self, asked):
            assert asked == key
            return self.stored

    image = ImageLoader(File(picture.read_bytes()), DEFAULT_DECODING, views=False).load(key).image
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(picture).convert("RGB")))
