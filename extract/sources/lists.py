"""Images named by text lists of ``path label`` lines: the community layout of VTAB-1K."""

from pathlib import Path

import numpy as np

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.extract.sources.base import composed, read_file, spellings, unknown_split

STANDARD_SPLITS = ("train800", "val200", "train800val200", "test")


class ListsSource:
    """Lists ``<root>/<split>.txt`` of paths relative to ``root``, with integer labels.

    If any of the standard VTAB-1K lists exists, the splits are those; otherwise every text file is a split.
    The number of classes, unless it is given, is counted over all lists, never over one split.
    """

    def __init__(self, root: Path, num_classes: int | None = None) -> None:
        """Read the lists.

        Raises:
            LosaError: the folder or its lists are missing, a line is wrong (the message names file and line),
                or two paths differ only in their Unicode spelling.
        """
        if not root.is_dir():
            raise LosaError(f"dataset.root: there is no folder {root}")
        self._root = root
        self.notes: tuple[str, ...] = ()
        found = {path.stem: path for path in sorted(root.glob("*.txt"))}
        # Beside the standard lists there may be other text files, such as classes.txt and README.txt.
        standard = [name for name in STANDARD_SPLITS if name in found]
        self.splits = tuple(standard or found)
        if not found:
            raise LosaError(
                f"{root} has no lists: expected {', '.join(f'{name}.txt' for name in STANDARD_SPLITS)} "
                "with a line 'path label' for every image"
            )
        self._lists = {name: _read_list(found[name]) for name in self.splits}
        highest = max((label for lines in self._lists.values() for _, label in lines), default=-1)
        if num_classes is not None and highest >= num_classes:
            raise LosaError(
                f"{root}: the lists have label {highest}, but dataset.num_classes={num_classes} allows only "
                f"0 to {num_classes - 1}"
            )
        self.columns = (LabelColumn(name="label", num_classes=num_classes or highest + 1),)
        self._path_of = spellings(path for lines in self._lists.values() for path, _ in lines)

    def contents(self, split: str) -> SplitContents:
        """The labels of a split and its keys, normalised paths.

        Raises:
            LosaError: there is no such list, it is empty, or it names a file that does not exist.
        """
        if split not in self._lists:
            raise unknown_split(split, self.splits)
        keys = []
        for number, (path, _) in enumerate(self._lists[split], start=1):
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise LosaError(
                    f"{self._root / split}.txt, image {number}: paths are relative to {self._root} and stay "
                    f"below it, found {path!r}"
                )
            if not (self._root / path).is_file():
                raise LosaError(
                    f"{self._root / split}.txt, image {number}: there is no file {self._root / path}"
                )
            keys.append(composed(path))
        labels = np.array([label for _, label in self._lists[split]], np.int64)
        return SplitContents(name=split, keys=keys, labels={"label": labels})

    def read(self, key: str) -> bytes:
        """The bytes of the image file with a key."""
        return read_file(self._root / self._path_of.get(key, key))


def _read_list(path: Path) -> list[tuple[str, int]]:
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        if not file or not label.isdecimal():
            raise LosaError(f"{path}, line {number}: expected 'path label', found {line!r}")
        lines.append((Path(file.strip()).as_posix(), int(label)))
    return lines
