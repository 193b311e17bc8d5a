"""Finds the images that a user names: files, folders and patterns."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losa.cache_format import LosaError
from losa.extract.media import Media
from losa.extract.sources.folder_walk import FolderWalk
from losa.pipelines.matching_paths import matching_paths


@dataclass(frozen=True, slots=True)
class FoundImages:
    """Image files, and what is left out."""

    files: tuple[str, ...]
    """Paths, in the order of the places, sorted in each; a file that is found twice is listed once."""
    notes: tuple[str, ...]
    """What is left out of folders, a line each."""


def find_images(places: Sequence[str], media: Media = "images") -> FoundImages:
    """The image or video files in some places.

    A file that is named is taken whatever its name is; folders are searched at any depth for files with the
    extension of an image, or of a video, that are not hidden.

    Args:
        places: files, folders, or patterns such as ``photos/**/*.jpg``.
        media: images or videos.

    Raises:
        LosaError: a place does not exist, or is a folder without images, or neither a file nor a folder;
            the message says which.
    """
    files: dict[str, None] = {}
    notes: list[str] = []
    for place in places:
        for path in _matching(place):
            if path.is_dir():
                walk = FolderWalk(path, media)
                files |= dict.fromkeys(str(path / image) for image in walk.images)
                notes += [f"{path}: {note}" for note in walk.notes]
            elif path.is_file():
                files[str(path)] = None
            else:
                raise LosaError(f"{path}: expected a file or a folder, found a pipe or a device")
    return FoundImages(tuple(files), tuple(notes))


def _matching(place: str) -> list[Path]:
    found = matching_paths(place)
    if not found:
        kind = "no file matches this pattern" if glob.has_magic(place) else "there is no such file or folder"
        raise LosaError(f"{place}: {kind}; expected images after the side networks")
    return found
