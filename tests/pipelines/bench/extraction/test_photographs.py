from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from losa.extract.sources.base import ImageSource
from losa.pipelines.bench.extraction.photographs import Photographs, RepeatedFiles, make_photographs


@pytest.fixture
def files(tmp_path):
    return make_photographs(tmp_path, 3, 20)


def test_made_up_photographs_are_jpegs_that_differ(files):
    images = [Image.open(file) for file in files]
    assert {(image.format, image.size) for image in images} == {("JPEG", (20, 20))}
    assert len({image.tobytes() for image in images}) == 3


def test_as_a_data_set_of_losas_they_are_repeated(files):
    source = RepeatedFiles(files, {"few": 2, "many": 7})
    assert isinstance(source, ImageSource)
    assert source.splits == ("few", "many")
    keys = source.contents("many").keys
    assert len(set(keys)) == 7
    contents = [Path(file).read_bytes() for file in files]
    assert [source.read(key) for key in keys] == [contents[number % 3] for number in range(7)]


def test_as_a_data_set_of_torchs_they_are_the_same(files):
    photographs = Photographs(files, 5, pil_to_tensor)
    assert len(photographs) == 5
    expected = np.asarray(Image.open(files[1])).transpose(2, 0, 1)
    np.testing.assert_array_equal(photographs[4].numpy(), expected)
