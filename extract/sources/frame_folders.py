"""Videos that are stored as images: one folder of frames for each video."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from losa.cache_format.contents import SplitContents
from losa.cache_format.errors import LosaError
from losa.extract.sources.base import StoredFrames, composed, read_file
from losa.extract.sources.files import FileSource
from losa.extract.sources.notes import shortened


class FrameFolderSource:
    """Splits of videos that are folders of frames. Their keys are the paths of the folders."""

    def __init__(self, folders: FileSource, root: Path, frames: Mapping[str, Sequence[str]]) -> None:
        """Take the folders.

        Args:
            folders: splits and labels of the folders, as if each was a file.
            root: folder below which all of them are.
            frames: path of a folder -> names of its frames, in their order.
        """
        self.columns = folders.columns
        self.notes = folders.notes
        self.splits = folders.splits
        self._folders = folders
        self._frames = {
            composed(folder): [root / folder / name for name in names] for folder, names in frames.items()
        }

    def contents(self, split: str) -> SplitContents:
        """Keys and labels of a split."""
        return self._folders.contents(split)

    def read(self, key: str) -> StoredFrames:
        """The bytes of all frames of the folder with a key."""
        return StoredFrames(tuple(map(read_file, self._frames[key])))


def frames_by_folder(root: Path, images: Iterable[str]) -> dict[str, list[str]]:
    """Folder -> names of the images in it, in the order of time.

    Args:
        root: the folder of the data set, for messages.
        images: paths relative to the root.

    Raises:
        LosaError: images are in no folder.
    """
    found: dict[str, list[str]] = {}
    for path in images:
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    if loose := found.get(""):
        raise LosaError(
            f"{root}: dataset.media=frames expects a folder of frames for each video, found images in no "
            f"folder: {shortened(loose)}. A data set of single images: dataset.media=images"
        )
    return {folder: sorted(names, key=in_time) for folder, names in found.items()}


def in_time(name: str) -> tuple[list[tuple[str, int]], str]:
    """What names of frames are sorted by: numbers in them count by their values.

    >>> sorted(["f10.jpg", "f9.jpg", "f09.jpg"], key=in_time)
    ['f09.jpg', 'f9.jpg', 'f10.jpg']
    """
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)([0-9]*)", name)], name
