"""What all data sets have in common whose images are numbered: arrays, and data sets of other libraries."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from losa.cache_format.contents import SplitContents
from losa.cache_format.manifest import LabelColumn
from losa.extract.sources.base import StoredImage, composed, unknown_split


@runtime_checkable  # so that beartype can check it while the tests run
class Images(Protocol):
    """Images by their numbers. Can be pickled, because each decoding process has its own copy."""

    def read(self, index: int) -> StoredImage:
        """An image, encoded if the data set has it encoded; errors are those of `ImageSource.read`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedSplit:
    """The images of a split, in its order."""

    images: Images
    keys: Sequence[str]
    labels: Mapping[str, Int64[np.ndarray, "images"]]


class IndexedSource:
    """Splits of numbered images; an `ImageSource`.

    Attributes:
        splits: names of the splits, in their usual order.
        columns: the label columns.
        notes: what a user should know, a line each.
    """

    def __init__(
        self, splits: Mapping[str, IndexedSplit], columns: Sequence[LabelColumn], notes: Iterable[str] = ()
    ) -> None:
        """Take the images of each split.

        Args:
            splits: split -> its images, whose keys no other split has, in the usual order of splits.
            columns: the label columns, which every split has.
            notes: what a user should know, a line each.
        """
        self.splits = tuple(splits)
        self.columns = tuple(columns)
        self.notes = tuple(notes)
        self._splits = dict(splits)
        self._place_of = {
            key: (split, index) for split, one in splits.items() for index, key in enumerate(one.keys)
        }

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split.

        Args:
            split: name of the split.

        Raises:
            LosaError: there is no such split; those that exist are listed.
        """
        if split not in self._splits:
            raise unknown_split(split, self.splits)
        one = self._splits[split]
        return SplitContents(name=split, keys=list(one.keys), labels=dict(one.labels))

    def read(self, key: str) -> StoredImage:
        """The image with a key, encoded if the data set has it encoded.

        Args:
            key: a key in the `contents` of one of the splits.

        Raises:
            KeyError: there is no such key.
            InvalidImage: the image cannot be decoded.
            LosaError: the image cannot be read at the moment, or is none of the kinds that losa knows.
        """
        split, index = self._place_of[key]
        return self._splits[split].images.read(index)


def item_keys(split: str, names: Sequence[str | None]) -> list[str]:
    """Keys of the images of a split: their names if each has one of its own, otherwise their numbers.

    Args:
        split: the split, which the keys begin with, because images of another may have the same names.
        names: names of files; of absolute paths and URLs only the last part is used, which no move changes.

    >>> item_keys("test", ["a/1.jpg", "/data/2.jpg"])
    ['test/a/1.jpg', 'test/2.jpg']
    >>> item_keys("test", ["1.jpg", None]), item_keys("test", ["1.jpg", "1.jpg"])
    (['test/0', 'test/1'], ['test/0', 'test/1'])
    """
    keys = [None if name is None else _relative(name) for name in names]
    if None in keys or len(set(keys)) < len(keys):
        return [f"{split}/{index}" for index in range(len(keys))]
    return [f"{split}/{key}" for key in keys]


def _relative(name: str) -> str | None:
    path = posixpath.normpath(composed(name.replace("\\", "/")))
    if path.startswith(("/", "../")) or ":" in path:
        path = posixpath.basename(path)
    return None if path in ("", ".", "..") else path
