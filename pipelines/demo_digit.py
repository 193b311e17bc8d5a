"""A seven in 8 x 8 grey levels, as text and as a picture."""

import io

import numpy as np
from PIL import Image

_LEVELS = " .+#"
"""Signs for grey levels, from black to white."""
_ROWS = (
    " +####. ",
    " ..+##+ ",
    "    ##. ",
    "  .+##+ ",
    "  ####. ",
    "   ##   ",
    "  +#+   ",
    "  ##.   ",
)

PICTURE = "\n" + "".join(f"      {' '.join(row)}\n" for row in _ROWS)
"""The digit in signs, a line for each row."""


def draw_digit() -> bytes:
    """The digit as the content of a PNG file, white on black, as the digits of ``dataset=digits`` are."""
    levels = np.array([[_LEVELS.index(sign) for sign in row] for row in _ROWS])
    picture = io.BytesIO()
    Image.fromarray((levels * 255 / (len(_LEVELS) - 1)).astype(np.uint8)).save(picture, "PNG")
    return picture.getvalue()
