"""Removal of files and folders of a cache, of which nothing is left half done."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from losa.cache_format.errors import CacheError
from losa.cache_format.storage.paths import CachePath


def refuse_irremovable(folders: Iterable[CachePath]) -> None:
    """Refuse folders that could be removed only in part, before anything is removed.

    Those are folders that lie elsewhere, where they may belong to others too, and those that this process may
    not change. A bucket has none of them.

    Raises:
        CacheError: one of the folders, or a folder below it, is a symbolic link or a mount point, or write
            protected.
    """
    for folder in folders:
        if isinstance(folder, Path) and (folder.is_symlink() or folder.is_dir()):
            _refuse(folder)
            for root, names, _ in os.walk(folder):
                for name in names:
                    _refuse(Path(root, name))


def _refuse(folder: Path) -> None:
    if folder.is_symlink():
        problem = f"is a symbolic link to {folder.readlink()}: put the folder itself in its place"
    elif folder.is_mount():
        problem = "is a mount point: unmount it"
    elif not all(os.access(entered, os.W_OK | os.X_OK) for entered in (folder, folder.parent)):
        problem = "or the folder that it is in is write protected: change the permissions"
    else:
        return
    raise CacheError(f"{folder} {problem}, or remove the cache by hand. Nothing was removed")


def remove_tree(path: CachePath) -> None:
    """Remove a file, or a folder with all that is in it, if it exists; of a symbolic link, only the link."""
    if not isinstance(path, Path):
        if path.exists():
            path.fs.rm(path.path, recursive=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
