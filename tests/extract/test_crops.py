import numpy as np
import pytest
from PIL import Image

from losa.cache_format.clips import Clip
from losa.extract.crops import crop_of


@pytest.fixture
def frame() -> Image.Image:
    """Its red says which column a pixel is in, its green which row."""
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(60), np.arange(20)[:, None]
    return Image.fromarray(pixels)


def first(crop: Image.Image) -> tuple[int, ...]:
    return crop.getpixel((0, 0))[:2]


def test_crops_lie_along_the_longer_side(frame):
    crops = [crop_of(frame, Clip(crop=number, crops=3), (3, 8, 8)) for number in (1, 2, 3)]
    assert [crop.size for crop in crops] == [(20, 20)] * 3
    assert [first(crop) for crop in crops] == [(0, 0), (20, 0), (40, 0)]
    upright = frame.transpose(Image.Transpose.TRANSPOSE)
    assert crop_of(upright, Clip(crop=3, crops=3), (3, 8, 8)).getpixel((0, 0))[:2] == (40, 0)


def test_crops_have_the_shape_of_the_input(frame):
    assert crop_of(frame, Clip(crop=2, crops=2), (3, 8, 16)).size == (40, 20)
    assert first(crop_of(frame, Clip(crop=2, crops=2), (3, 8, 16))) == (20, 0)


def test_one_crop_is_the_whole_frame(frame):
    assert crop_of(frame, Clip(2, 4), (3, 8, 8)) is frame
