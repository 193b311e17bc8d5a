"""Which lists a data set has: its official ones, or those of VPT."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from losa.extract.config import FgvcLayout
from losa.extract.sources.fgvc.annotations import Annotations
from losa.extract.sources.fgvc.birds import read_birds
from losa.extract.sources.fgvc.json_lists import read_json_lists
from losa.extract.sources.fgvc.mat_lists import read_cars, read_dogs, read_flowers
from losa.extract.sources.files import FileSource, existing_folder

_OFFICIAL: Mapping[FgvcLayout, Callable[[Path], Annotations]] = {
    "cub": read_birds,
    "nabirds": read_birds,
    "flowers": read_flowers,
    "dogs": read_dogs,
    "cars": read_cars,
}
_IMAGES: Mapping[FgvcLayout, str] = {"cub": "images/", "nabirds": "images/", "dogs": "Images/"}
"""Where the paths in VPT's lists begin, if not in the root."""


def read_fgvc(root: Path, layout: FgvcLayout) -> FileSource:
    """CUB-200-2011, NABirds, Oxford Flowers, Stanford Dogs or Stanford Cars.

    If there is a train.json, the lists are those that VPT (arXiv 2203.12119) published, which have a
    validation split; otherwise they are the official ones.

    Args:
        root: the folder in which the data set was unpacked.
        layout: which one it is.

    Raises:
        LosaError: a list is missing or wrong, or what reads it is not installed.
    """
    if not (existing_folder(root) / "train.json").exists():
        return _OFFICIAL[layout](root).source(root)
    annotations = read_json_lists(root, _IMAGES.get(layout, ""))
    lists = ", ".join(f"{split}.json" for split in annotations.splits)
    note = f"{root}: the splits are those of {lists}; to use the official ones, move these files away"
    return replace(annotations, notes=(note,)).source(root)
