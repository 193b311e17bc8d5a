"""The folder of a drawn data set, in the layout of ``dataset=lists``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import publish
from losa.extract.sources.lists import STANDARD_SPLITS


def refuse_used_folder(folder: Path) -> None:
    """Raise a LosaError unless a folder is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LosaError(f"{folder}: expected a new or an empty folder; remove it, or choose another one")


def write_lists(folder: Path, lines: Mapping[str, Sequence[str]]) -> None:
    """Write the four standard lists.

    Args:
        folder: where to.
        lines: lines ``path label`` to train on (``train``), to choose on (``val``) and to score (``test``).
    """
    train, val, test = (list(lines[part]) for part in ("train", "val", "test"))
    for split, listed in zip(STANDARD_SPLITS, (train, val, train + val, test), strict=True):
        publish(folder / f"{split}.txt", "".join(listed).encode())
