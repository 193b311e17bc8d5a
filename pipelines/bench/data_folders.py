"""The folders of data sets that a comparison over several sets runs through."""

from collections.abc import Sequence
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.common.suggestions import nearest
from losa.extract.sources.lists import STANDARD_SPLITS, has_lists


def find_data_folders(paths: Sequence[str | Path], names: Sequence[str] = ()) -> dict[str, Path]:
    """The data sets in some folders, by the names of their folders.

    Args:
        paths: folders with lists of images, as for ``dataset=lists``, or folders that hold several of them.
        names: the sets to keep; all of them if there are none.

    Returns:
        Name -> folder: in the order of ``paths`` and, within one of them, of the names.

    Raises:
        LosaError: a path is no folder or has no lists, two sets have one name, or a name is unknown.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for folder in _data_folders(Path(path)):
            other = found.setdefault(folder.resolve().name, folder)
            if other.resolve() != folder.resolve():
                raise LosaError(
                    f"{other} and {folder} are two data sets of one name, by which rows of the result are "
                    "told apart: rename a folder, or give one of them"
                )
    for name in names:
        if name not in found:
            raise LosaError(f"--set {name}: no such data set; found {', '.join(found)}{nearest(name, found)}")
    return {name: folder for name, folder in found.items() if name in names or not names}


def _data_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise LosaError(f"{path}: expected a folder, found {'a file' if path.exists() else 'nothing'}")
    if has_lists(path):
        return [path]
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and has_lists(folder)]
    if not folders:
        raise LosaError(
            f"{path}: neither it nor a folder in it has lists of images: expected "
            f"{', '.join(f'{name}.txt' for name in STANDARD_SPLITS)} with a line 'path label' for every image"
        )
    return folders
