"""Finds the folders of trained side networks: single ones, those of a sweep, those that a pattern matches."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from losa.adapt import TrainedSideNetwork, load_side_network
from losa.adapt.trained.files import DESCRIPTION_NAME
from losa.cache_format import LosaError
from losa.cache_format.storage.paths import local_path


def find_side_networks(places: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """The folders of side networks in some places, by names that tell them apart.

    Args:
        places: folders of side networks, folders that hold such folders at any depth, as a sweep's does, or
            patterns such as ``runs/*/losa-*``.

    Returns:
        Name -> folder, in the order of the places, sorted in each. A name is the end of the folder's path.

    Raises:
        LosaError: a place does not exist or holds no side network; the message says which.
    """
    folders: dict[Path, None] = {}
    for place in places:
        found = [folder for root in _matching(place) for folder in _inside(root)]
        if not found:
            raise LosaError(
                f"{os.fspath(place)}: expected the folder of a side network, which has a {DESCRIPTION_NAME}, "
                f"or a folder of such folders; {_what_is_there(place)}"
            )
        folders |= dict.fromkeys(found)
    return dict(zip(_names(list(folders)), folders, strict=True))


def load_side_networks(places: Sequence[str | os.PathLike[str]]) -> dict[str, TrainedSideNetwork]:
    """Load the side networks in some places; see `find_side_networks`.

    Raises:
        LosaError: a place holds none, or files are damaged.
    """
    return {name: load_side_network(folder) for name, folder in find_side_networks(places).items()}


def holds_side_networks(place: str) -> bool:
    """Whether a place is the folder of a side network, or holds such folders."""
    return any(_inside(root) for root in _matching(place))


def _matching(place: str | os.PathLike[str]) -> list[Path]:
    path = local_path(os.fspath(place))
    if path.exists():  # a name may have the signs of a pattern in it
        return [path]
    # Not Path.glob, which takes no absolute patterns.
    return [Path(found) for found in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207


def _inside(root: Path) -> list[Path]:
    if (root / DESCRIPTION_NAME).is_file():
        return [root]
    return sorted(found.parent for found in root.rglob(DESCRIPTION_NAME)) if root.is_dir() else []


def _what_is_there(place: str | os.PathLike[str]) -> str:
    path = local_path(os.fspath(place))
    if path.is_dir():
        return "it has none: is the training finished?"
    return "it is a file" if path.is_file() else "there is no such folder"


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths, of one length, that are all different."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if max(Counter(names).values()) == 1:
            break
    return names
