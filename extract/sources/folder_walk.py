"""Searches a folder for images or videos, and tells what it leaves out."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from losa.cache_format.errors import LosaError
from losa.extract.media import Media, file_extensions
from losa.extract.sources.existing_files import is_file
from losa.extract.sources.hidden import is_hidden
from losa.extract.sources.notes import shortened


class FolderWalk:
    """The images or videos below a root, links followed, sorted by the components of their paths."""

    def __init__(self, root: Path, media: Media = "images") -> None:
        """Search the folder.

        Args:
            root: the folder.
            media: what to look for; the frames of videos are images.

        Raises:
            LosaError: a folder cannot be listed, or none holds what is looked for.
        """
        self.images: list[str] = []
        """Paths relative to the root, with slashes."""
        self.folders: dict[str, list[str]] = {}
        """Folder, relative to the root -> names of the folders in it."""
        self._kind = "videos" if media == "videos" else "images"
        self._extensions = file_extensions(media)
        self._others: Counter[str] = Counter()
        self._hidden: list[str] = []
        real = os.path.realpath(root)
        self._walk(str(root), "", frozenset({real}), real)
        if not self.images:
            left_out = "".join(f"\n{note}" for note in self.notes)
            raise LosaError(f"{root} holds no {self._kind} ({', '.join(sorted(self._extensions))}){left_out}")

    @property
    def notes(self) -> Iterator[str]:
        """What is left out, a line each."""
        if self._others:
            kinds = ", ".join(
                f"{-count:,} {extension or 'without extension'}"
                for count, extension in sorted(
                    (-count, extension) for extension, count in self._others.items()
                )
            )
            opener = "FFmpeg" if self._kind == "videos" else "Pillow"
            yield f"files that are no {self._kind} that {opener} opens are left out: {kinds}"
        if self._hidden:
            yield f"hidden files and folders are left out: {shortened(self._hidden)}"

    def _walk(self, folder: str, prefix: str, above: frozenset[str], real: str) -> None:
        names = self.folders[prefix.removesuffix("/")] = []
        for entry in _listed(folder):
            name = entry.name
            if is_hidden(name):
                self._hidden.append(prefix + name)
            elif _is_folder(entry):
                names.append(name)
                target = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{name}"
                # Following a link to a folder that contains it would never end.
                if target not in above:
                    self._walk(entry.path, f"{prefix}{name}/", above | {target}, target)
            else:
                _, dot, extension = name.rpartition(".")
                extension = (dot + extension).lower() if dot else ""
                if extension not in self._extensions:
                    self._others[extension] += 1
                elif is_file(entry) or _is_broken_link(entry):
                    self.images.append(prefix + name)


def _listed(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise LosaError(
            f"{folder}: this folder cannot be listed ({error.strerror}), and its images would be left out"
        ) from None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_broken_link(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a link that leads nowhere: a missing image must be reported, not left out."""
    return entry.is_symlink() and not Path(entry.path).exists()
