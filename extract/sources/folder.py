"""Plain image folders: ``root/<split>/<class>/...`` or ``root/<class>/...``."""

import unicodedata
from pathlib import Path

import numpy as np
from timm.data.readers.img_extensions import get_img_extensions

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.cache_format.labels import MISSING_LABEL
from losa.cache_format.manifest import LabelColumn
from losa.extract.sources.base import SourceImage, load_file, unknown_split

SPLIT_FOLDERS = ("train", "val", "validation", "test")
WHOLE = "all"
"""Name of the only split of a folder without split folders."""


class FolderSource:
    """An image's class is the first folder below its split; images without one have no label.

    If the root has folders named train, val, validation or test, these are the splits; else the
    whole root is one split, ``all``. Class names are taken over all splits, in sorted order.
    """

    def __init__(self, root: Path) -> None:
        """List the images.

        Raises:
            LosaError: the folder is missing or holds no images.
        """
        if not root.is_dir():
            raise LosaError(f"dataset.root: there is no folder {root}")
        self._root = root
        self.splits = tuple(name for name in SPLIT_FOLDERS if (root / name).is_dir()) or (WHOLE,)
        self._files = {split: _image_files(self._base(split)) for split in self.splits}
        if not any(self._files.values()):
            raise LosaError(f"{root} holds no images ({', '.join(sorted(get_img_extensions()))})")
        classes = {_class_of(file) for files in self._files.values() for file in files if len(file.parts) > 1}
        self._classes = tuple(sorted(classes))
        self.columns = (LabelColumn(name="label", num_classes=len(classes), classes=self._classes),)
        self._path_of: dict[str, str] = {}

    def contents(self, split: str) -> SplitContents:
        """Keys (paths relative to the root) and labels of a split."""
        if split not in self.splits:
            raise unknown_split(split, self.splits)
        files = self._files[split]
        keys = []
        for file in files:
            path = (self._base(split) / file).relative_to(self._root).as_posix()
            key = unicodedata.normalize("NFC", path)
            if key != path:
                self._path_of[key] = path
            keys.append(key)
        label_of = {name: label for label, name in enumerate(self._classes)}
        labels = [label_of[_class_of(file)] if len(file.parts) > 1 else MISSING_LABEL for file in files]
        return SplitContents(name=split, keys=keys, labels={"label": np.array(labels, np.int64)})

    def load(self, key: str) -> SourceImage:
        """Decode the file of a key."""
        return load_file(self._root / self._path_of.get(key, key))

    def _base(self, split: str) -> Path:
        return self._root if split == WHOLE else self._root / split


def _class_of(file: Path) -> str:
    """Normalised, so that splits copied from systems that spell umlauts in different ways agree."""
    return unicodedata.normalize("NFC", file.parts[0])


def _image_files(base: Path) -> list[Path]:
    extensions = {extension.lower() for extension in get_img_extensions()}
    found = (path for path in base.rglob("*") if path.suffix.lower() in extensions and path.is_file())
    return sorted(path.relative_to(base) for path in found)
