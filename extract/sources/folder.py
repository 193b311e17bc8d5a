"""Plain image folders: ``root/<split>/<class>/...`` or ``root/<class>/...``."""

import os
from pathlib import Path

import numpy as np
from timm.data.readers.img_extensions import get_img_extensions

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.base import composed, read_file, spellings, unknown_split

SPLIT_FOLDERS = ("train", "val", "validation", "test")
WHOLE = "all"
"""Name of the split if there are no split folders."""

Parts = tuple[str, ...]
"""The components of a path relative to the root."""


class FolderSource:
    """A folder of images; the class of an image is the first folder below its split.

    If the root has folders named train, val, validation or test, these are the splits, and no image may be
    elsewhere; otherwise the whole root is one split, ``all``. An image that is in no class folder has no
    label. Classes are numbered over all splits, in sorted order. Links are followed.
    """

    def __init__(self, root: Path) -> None:
        """List the images.

        Raises:
            LosaError: the folder is missing or holds no images, or some images are in none of its splits.
        """
        if not root.is_dir():
            raise LosaError(f"dataset.root: there is no folder {root}")
        self._root = root
        self.notes: tuple[str, ...] = ()
        files = _image_files(root)
        if not files:
            raise LosaError(f"{root} holds no images ({', '.join(sorted(get_img_extensions()))})")
        self.splits = tuple(name for name in SPLIT_FOLDERS if (root / name).is_dir()) or (WHOLE,)
        self._files: dict[str, list[Parts]] = {split: [] for split in self.splits}
        if self.splits == (WHOLE,):
            self._files[WHOLE] = files
        else:
            self._refuse_beside(files)
            for file in files:
                self._files[file[0]].append(file)
        classes = {self._class_of(split, file) for split in self.splits for file in self._files[split]}
        self._classes = tuple(sorted(name for name in classes if name is not None))
        self.columns = (LabelColumn(name="label", num_classes=len(self._classes), classes=self._classes),)
        self._path_of = spellings(map("/".join, files))

    def contents(self, split: str) -> SplitContents:
        """The labels of a split and its keys, paths relative to the root."""
        if split not in self.splits:
            raise unknown_split(split, self.splits)
        files = self._files[split]
        keys = [composed("/".join(file)) for file in files]
        label_of: dict[str | None, int] = {name: label for label, name in enumerate(self._classes)}
        labels = [label_of.get(self._class_of(split, file), MISSING_LABEL) for file in files]
        return SplitContents(name=split, keys=keys, labels={"label": np.array(labels, np.int64)})

    def read(self, key: str) -> bytes:
        """The bytes of the image file with a key."""
        return read_file(self._root / self._path_of.get(key, key))

    def _class_of(self, split: str, file: Parts) -> str | None:
        """The class in composed Unicode, because systems spell umlauts differently and splits are copied."""
        below = file if split == WHOLE else file[1:]
        return composed(below[0]) if len(below) > 1 else None

    def _refuse_beside(self, files: list[Parts]) -> None:
        counts: dict[str, int] = {}
        loose = 0
        for file in files:
            if len(file) == 1:
                loose += 1
            elif file[0] not in self.splits:
                counts[file[0]] = counts.get(file[0], 0) + 1
        beside = [f"{name}/ ({count:,})" for name, count in sorted(counts.items())]
        if len(beside) > 8:
            beside[8:] = [f"{len(beside) - 8} more folders"]
        if loose:
            beside.append(f"no folder ({loose:,})")
        if beside:
            raise LosaError(
                f"{self._root} has split folders ({', '.join(self.splits)}), and images beside them that "
                f"would be left out: in {', '.join(beside)}.\n"
                f"If these are splits too, name them {', '.join(SPLIT_FOLDERS)}; if all of these folders are "
                "classes, put them into one folder named train and let dataset.root be its parent; "
                "otherwise move the images that do not belong to the data set elsewhere"
            )


def _image_files(root: Path) -> list[Parts]:
    extensions = {extension.lower() for extension in get_img_extensions()}
    found: list[Parts] = []

    def walk(folder: str, parts: Parts, above: frozenset[str], real: str) -> None:
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            raise LosaError(
                f"{folder}: this folder cannot be listed ({error.strerror}), and its images would be left out"
            ) from None
        for entry in listed:
            if _is_folder(entry):
                target = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}"
                # Following a link to a folder that contains it would never end.
                if target not in above:
                    walk(entry.path, (*parts, entry.name), above | {target}, target)
            elif Path(entry.name).suffix.lower() in extensions and _is_file(entry):
                found.append((*parts, entry.name))

    real = os.path.realpath(root)
    walk(str(root), (), frozenset({real}), real)
    return sorted(found)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a file, or a broken link: a missing image must be reported, not left out."""
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True
