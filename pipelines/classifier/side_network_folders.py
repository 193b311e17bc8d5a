"""Finds the folders of trained side networks: single ones, of a sweep, of a pattern, of a repository."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from losa.adapt import TrainedSideNetwork, load_side_network
from losa.adapt.trained.files import DESCRIPTION_NAME
from losa.cache_format import LosaError
from losa.cache_format.storage.paths import instead_of_folder, local_path
from losa.pipelines.classifier.hub import hub_place, is_on_hub
from losa.pipelines.matching_paths import matching_paths


class _Root(NamedTuple):
    """A folder in which side networks are looked for."""

    folder: Path
    parts: tuple[str, ...]
    """The parts of its path, by which those who named it know it."""


def find_side_networks(places: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """The folders of side networks in some places, by names that tell them apart.

    Args:
        places: folders of side networks, folders that hold such folders at any depth, as a sweep's does,
            patterns such as ``runs/*/losa-*``, or repositories ``hf-hub:<owner>/<name>[@<revision>]``.

    Returns:
        Name -> folder, in the order of the places, sorted in each. A name is the end of the folder's path.

    Raises:
        LosaError: a place does not exist, cannot be fetched or holds no side network; the message says which.
    """
    parts: dict[Path, tuple[str, ...]] = {}
    for place in places:
        found = {
            folder: root.parts + folder.relative_to(root.folder).parts
            for root in _matching(place)
            for folder in _inside(root.folder)
        }
        if not found:
            raise LosaError(
                f"{os.fspath(place)}: expected the folder of a side network, which has a {DESCRIPTION_NAME}, "
                f"or a folder of such folders; {_what_is_there(place)}"
            )
        parts |= found
    return dict(zip(_names(list(parts.values())), parts, strict=True))


def load_side_networks(places: Sequence[str | os.PathLike[str]]) -> dict[str, TrainedSideNetwork]:
    """Load the side networks in some places; see `find_side_networks`.

    Raises:
        LosaError: a place holds none, or files are damaged.
    """
    return {name: load_side_network(folder) for name, folder in find_side_networks(places).items()}


def holds_side_networks(place: str) -> bool:
    """Whether a place is the folder of a side network, or holds such folders."""
    return any(_inside(root.folder) for root in _matching(place))


def _matching(place: str | os.PathLike[str]) -> list[_Root]:
    if is_on_hub(os.fspath(place)):
        on_hub = hub_place(os.fspath(place))
        owner, name = on_hub.repository.split("/")
        revised = name if on_hub.revision is None else f"{name}@{on_hub.revision}"
        return [_Root(on_hub.fetch(), (owner, revised))]
    return [_Root(each, each.resolve().parts) for each in matching_paths(os.fspath(place))]


def _inside(root: Path) -> list[Path]:
    if (root / DESCRIPTION_NAME).is_file():
        return [root]
    return sorted(found.parent for found in root.rglob(DESCRIPTION_NAME)) if root.is_dir() else []


def _what_is_there(place: str | os.PathLike[str]) -> str:
    if is_on_hub(os.fspath(place)):
        return "the repository has none"
    path = local_path(os.fspath(place))
    if path.is_dir():
        return "it has none: is the training finished?"
    return instead_of_folder(path)


def _names(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """The shortest ends of the folders' paths, of one length, that are all different."""
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if max(Counter(names).values()) == 1:
            break
    return names
