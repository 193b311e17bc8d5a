"""Tasks that label the same images: each has a folder of lists, and copies of the images in it."""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import numpy as np

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.config import TaskConfig
from losa.extract.sources.base import InvalidImage, unknown_split
from losa.extract.sources.files import usual_order
from losa.extract.sources.lists import read_lists


class TasksSource:
    """Splits of several tasks, joined by the keys of their images, with a label column for each task.

    An image that a task does not list has no label in its column. What a task lists as an image must be, byte
    for byte, what the others list under the same key.
    """

    def __init__(self, root: Path, tasks: Mapping[str, TaskConfig], encoding: str | None = None) -> None:
        """Read the lists of all tasks.

        Args:
            root: the folder of their folders.
            tasks: label column -> folder of its task, and number of classes.
            encoding: encoding of the lists; None: UTF-8, or that of their byte order marks.

        Raises:
            LosaError: a list is missing or wrong, or tasks have an image in different splits.
        """
        self._root = root
        self._folders = {column: task.subfolder for column, task in tasks.items()}
        self._sources = {
            column: read_lists(
                root / task.subfolder, column=column, num_classes=task.num_classes, encoding=encoding
            )
            for column, task in tasks.items()
        }
        self.columns = tuple(column for source in self._sources.values() for column in source.columns)
        self.notes = tuple(note for source in self._sources.values() for note in source.notes)
        self.splits = tuple(
            usual_order({split for source in self._sources.values() for split in source.splits})
        )
        self._keys = {
            column: {split: source.keys(split) for split in source.splits}
            for column, source in self._sources.items()
        }
        self._known = {
            column: frozenset(key for keys in lists.values() for key in keys)
            for column, lists in self._keys.items()
        }
        self._refuse_other_splits()

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split: the images of the first task in their order, then those of others only.

        Raises:
            LosaError: there is no such split, it is empty, or it lists an image twice or one that is missing.
        """
        if split not in self.splits:
            raise unknown_split(split, self.splits)
        parts = {
            column: source.contents(split)
            for column, source in self._sources.items()
            if split in source.splits
        }
        keys = list(dict.fromkeys(key for part in parts.values() for key in part.keys))
        row_of = {key: row for row, key in enumerate(keys)}
        labels = {column: np.full(len(keys), MISSING_LABEL, np.int64) for column in self._sources}
        for column, part in parts.items():
            labels[column][[row_of[key] for key in part.keys]] = part.labels[column]
        return SplitContents(name=split, keys=keys, labels=labels)

    def read(self, key: str) -> bytes:
        """The bytes of the image file with a key.

        Raises:
            InvalidImage: no task lists it, or one does, but its file is gone.
            LosaError: the tasks have different images with this key, or it cannot be read at the moment.
        """
        found = {
            column: source.read(key) for column, source in self._sources.items() if key in self._known[column]
        }
        if not found:
            raise InvalidImage("no task lists it")
        (first, data), *others = found.items()
        for column, other in others:
            if other != data:
                files = [self._root / self._folders[name] / key for name in (first, column)]
                raise LosaError(
                    f"{files[0]} and {files[1]} differ, so these tasks do not share their images: extract "
                    "each of them by itself"
                )
        return data

    def _refuse_other_splits(self) -> None:
        """A cache has one label of an image in a column, whatever the split."""
        for column, other in permutations(self._keys, 2):
            for split, keys in self._keys[other].items():
                elsewhere = self._known[column] & (set(keys) - set(self._keys[column].get(split, ())))
                if elsewhere:
                    key = min(elsewhere)
                    place = next(name for name, listed in self._keys[column].items() if key in listed)
                    raise LosaError(
                        f"image {key!r} is in split {split!r} of {self._root / self._folders[other]}, but in "
                        f"split {place!r} of {self._root / self._folders[column]}: extract each of these "
                        "tasks by itself"
                    )
