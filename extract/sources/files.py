"""What all data sets have in common whose images are files below a root."""

import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.extract.sources.base import composed, read_file, spellings, unknown_split
from losa.extract.sources.existing_files import ExistingFiles

WHOLE = "all"
"""Name of the split of a data set that is not divided."""
USUAL_SPLITS = ("train", "train800", "val", "val200", "validation", "trainval", "train800val200", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedIn:
    """The file that lists the images of a split, and where in it each of them stands."""

    file: Path
    numbers: Sequence[int]
    """For each image the number of its line or row, from 1."""
    unit: str = "line"

    def place(self, position: int) -> str:
        """Where an image is listed, for messages."""
        return f"{self.file}, {self.unit} {self.numbers[position]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """The images of a split, in its order."""

    paths: Sequence[str]
    """Paths relative to the root, with slashes, spelt as the files are."""
    labels: Mapping[str, Int64[np.ndarray, "images"]]
    listed_in: ListedIn | None = None
    """None: the folders were searched for the images, so that each of them exists."""


class FileSource:
    """Splits of images that are files below a root. Their keys are their paths relative to it."""

    def __init__(
        self,
        root: Path,
        files: Mapping[str, FileList],
        columns: Sequence[LabelColumn],
        notes: Iterable[str] = (),
    ) -> None:
        """Take the images of each split.

        Args:
            root: folder below which all files are.
            files: split -> its images, in the usual order of splits.
            columns: the label columns, which every split has.
            notes: what a user should know, a line each.

        Raises:
            LosaError: two paths differ only in their Unicode spelling.
        """
        self.columns = tuple(columns)
        self.notes = tuple(notes)
        self.splits = tuple(files)
        self._root = root
        self._files = dict(files)
        self._path_of = spellings(path for one in files.values() for path in one.paths)

    def keys(self, split: str) -> list[str]:
        """Keys of a split, of images that may turn out to be missing.

        Raises:
            LosaError: there is no such split.
        """
        if split not in self._files:
            raise unknown_split(split, self.splits)
        return [composed(path) for path in self._files[split].paths]

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split.

        Raises:
            LosaError: there is no such split, it is empty, or it lists an image twice or one that is missing.
        """
        keys = self.keys(split)
        files = self._files[split]
        if files.listed_in is not None:
            _refuse_repeated(keys, files.listed_in)
            existing = ExistingFiles(self._root)
            for position, path in enumerate(files.paths):
                if path not in existing:
                    raise LosaError(
                        f"{files.listed_in.place(position)}: there is no file {self._root / path}"
                    )
        return SplitContents(name=split, keys=keys, labels=dict(files.labels))

    def read(self, key: str) -> bytes:
        """The bytes of the image file with a key."""
        return read_file(self._root / self._path_of.get(key, key))


class ListedPaths:
    """Paths as they are written in lists -> paths as `FileList` has them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefixes = tuple(f"{prefix}/" for prefix in {root.absolute(), root.resolve()})
        self.existing = ExistingFiles(root)

    def relative(self, written: str) -> str:
        """The path of the file that is meant.

        It may be written with quotes around it, with backslashes, with the root before it, or in another
        Unicode spelling than that of the file; but where there is a file with just this name, it is that one.

        Raises:
            LosaError: the path leads out of the root. The message does not say where it is written.
        """
        if _is_plain(written):
            return written
        inside = [path for path in map(self._inside, _readings(written)) if path is not None]
        if not inside:
            raise LosaError(
                f"paths are relative to {self._root} and stay below it, found {written!r}. Let dataset.root "
                "be a folder that holds all images"
            )
        return next((path for path in inside if path in self.existing), inside[0])

    def _inside(self, path: str) -> str | None:
        if path.startswith("/"):
            before = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
            if before is None:
                return None
            path = path.removeprefix(before)
        if ".." in path.split("/"):
            return None
        return posixpath.normpath(path)


def _is_plain(written: str) -> bool:
    """Whether a path has but one reading. (Of a million paths most have; a regular expression is slower.)"""
    return (
        written.isascii()
        and written[0] not in "\"'./"
        and "\\" not in written
        and "//" not in written
        and "/." not in written
    )


def _readings(written: str) -> Iterator[str]:
    """What a path may mean, the likeliest first."""
    quoted = len(written) > 2 and written[0] == written[-1] and written[0] in "\"'"
    for bare in (written, written[1:-1]) if quoted else (written,):
        for path in (bare, bare.replace("\\", "/")) if "\\" in bare else (bare,):
            yield path
            if not path.isascii():
                yield unicodedata.normalize("NFC", path)
                yield unicodedata.normalize("NFD", path)


def _refuse_repeated(keys: Sequence[str], listed_in: ListedIn) -> None:
    if len(set(keys)) == len(keys):
        return
    first: dict[str, int] = {}
    for position, key in enumerate(keys):
        if first.setdefault(key, position) != position:
            raise LosaError(
                f"{listed_in.place(position)}: image {key!r} is listed twice, first in {listed_in.unit} "
                f"{listed_in.numbers[first[key]]}"
            )


def usual_order(splits: Iterable[str]) -> list[str]:
    """Names of splits: the usual ones first, in the order in which one uses them, then the others, sorted.

    >>> usual_order(["extra", "test", "train"])
    ['train', 'test', 'extra']
    """
    rank = {name: number for number, name in enumerate(USUAL_SPLITS)}
    return sorted(splits, key=lambda name: (rank.get(name.lower(), len(rank)), name))


def existing_folder(root: Path) -> Path:
    """The root of a data set.

    Raises:
        LosaError: there is no such folder.
    """
    if not root.is_dir():
        raise LosaError(f"dataset.root: there is no folder {root}")
    return root
