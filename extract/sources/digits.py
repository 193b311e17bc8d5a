"""The 1,797 handwritten digits bundled with scikit-learn, which need no download."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.extract.sources.base import unknown_split

_SPLITS = {
    "train800": slice(0, 800),
    "val200": slice(800, 1000),
    "train800val200": slice(0, 1000),
    "test": slice(1000, None),
}
_GREY_LEVELS = 16


class DigitsSource:
    """8 x 8 grey images of ten digits, in splits of the sizes that VTAB-1K uses.

    The order is a fixed permutation, because the data set is sorted by writer.
    """

    splits = tuple(_SPLITS)
    notes = ()
    columns = (LabelColumn(name="label", num_classes=10, classes=tuple("0123456789")),)

    def __init__(self) -> None:
        """Load the images and labels.

        Raises:
            LosaError: scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise LosaError(
                "dataset=digits comes with scikit-learn, which is not installed: pip install 'losa[demo]'"
            ) from None
        self._images, self._labels = _read_once(load_digits)
        self._order = np.random.default_rng(0).permutation(len(self._labels))

    def contents(self, split: str) -> SplitContents:
        """The labels of a split and its keys, ``digit/<position in scikit-learn's array>``."""
        if split not in _SPLITS:
            raise unknown_split(split, self.splits)
        chosen = self._order[_SPLITS[split]]
        keys = [f"digit/{index:04d}" for index in chosen]
        return SplitContents(name=split, keys=keys, labels={"label": self._labels[chosen]})

    def read(self, key: str) -> Image.Image:
        """The digit as an 8 x 8 grey image."""
        return Image.fromarray(self._images[int(key.removeprefix("digit/"))])


@functools.cache
def _read_once(
    load_digits: Callable[[], Any],
) -> tuple[UInt8[np.ndarray, "images 8 8"], Int64[np.ndarray, " images"]]:
    """Images and labels; scikit-learn parses a text file at each call."""
    digits = load_digits()
    return (digits.images * (255 / _GREY_LEVELS)).round().astype(np.uint8), digits.target.astype(np.int64)
