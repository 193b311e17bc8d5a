"""What the lists of a data set say, before its classes are numbered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.files import FileList, FileSource, ListedIn, ListedPaths, usual_order

ClassId = int | str
"""Number or name of a class in a list; numbers need not be consecutive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedSplit:
    """The images that a list has for a split."""

    file: Path
    paths: Sequence[str]
    """Paths relative to the root of the data set."""
    classes: Sequence[ClassId | None]
    """None: the list does not say it."""
    numbers: Sequence[int]
    """Numbers of their lines, or of their entries, for messages."""
    unit: str = "entry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The lists of a data set."""

    splits: Mapping[str, AnnotatedSplit]
    names: Mapping[ClassId, str] = field(default_factory=dict)
    """Names of classes, as far as they are known."""
    notes: tuple[str, ...] = ()

    def source(self, root: Path) -> FileSource:
        """The data set, with classes numbered over all splits, in the order of their numbers in the lists.

        Raises:
            LosaError: a path leads out of the root, or classes are numbers and names.
        """
        listed = ListedPaths(root)
        used = {one for split in self.splits.values() for one in split.classes if one is not None}
        if len({type(one) for one in used}) > 1:
            raise LosaError(f"{root}: some classes are numbers and some are names in its lists")
        order: list[ClassId] = sorted(used)
        label_of: dict[ClassId | None, int] = {one: label for label, one in enumerate(order)}
        files = {
            name: FileList(
                paths=list(_inside(self.splits[name], listed)),
                labels={
                    "label": np.array(
                        [label_of.get(one, MISSING_LABEL) for one in self.splits[name].classes], np.int64
                    )
                },
                listed_in=ListedIn(
                    file=self.splits[name].file,
                    numbers=self.splits[name].numbers,
                    unit=self.splits[name].unit,
                ),
            )
            for name in usual_order(self.splits)
        }
        names = tuple(self.names.get(one, str(one)) for one in order)
        column = LabelColumn(name="label", num_classes=len(names), classes=names)
        return FileSource(root, files, [column], self.notes)


def _inside(split: AnnotatedSplit, listed: ListedPaths) -> Iterator[str]:
    for number, path in zip(split.numbers, split.paths, strict=True):
        try:
            yield listed.relative(path)
        except LosaError as error:
            raise LosaError(f"{split.file}, {split.unit} {number}: {error}") from None
