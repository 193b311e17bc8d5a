"""The digit of the demo: text and picture show the same."""

import io

import numpy as np
from PIL import Image

from losa.pipelines.demo_digit import PICTURE, draw_digit


def test_the_picture_is_the_text_in_grey_levels() -> None:
    image = Image.open(io.BytesIO(draw_digit()))
    assert (image.size, image.mode) == ((8, 8), "L")
    rows = [line[6::2] for line in PICTURE.strip("\n").splitlines()]
    signs = np.array([list(row.ljust(8)) for row in rows])
    levels = np.asarray(image)
    assert [set(levels[signs == sign].tolist()) for sign in " .+#"] == [{0}, {85}, {170}, {255}]
