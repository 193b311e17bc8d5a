"""Says which files exist, for lists of millions of them."""

import os
from pathlib import Path

from losa.cache_format.errors import LosaError


class ExistingFiles:
    """The files below a root, as a set of relative paths with slashes.

    Each folder is listed once, when the first file in it is asked for: to ask the system for file after file
    takes minutes if there are a million of them, and hours on a network.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._names: dict[str, frozenset[str]] = {}

    def __contains__(self, path: str) -> bool:
        """Whether a path is that of a file.

        Raises:
            LosaError: its folder cannot be listed.
        """
        folder, _, name = path.rpartition("/")
        names = self._names.get(folder)
        if names is None:
            names = self._names[folder] = self._list(folder)
        return name in names

    def _list(self, folder: str) -> frozenset[str]:
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                return frozenset(entry.name for entry in entries if is_file(entry))
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except (OSError, ValueError) as error:  # ValueError: the path holds a NUL character
            reason = error.strerror if isinstance(error, OSError) else error
            raise LosaError(f"{self._root}/{folder}: this folder cannot be listed ({reason})") from None


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry of a folder is a file or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False
