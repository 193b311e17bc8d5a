"""Free disk space."""

import os
from pathlib import Path

from losa.cache_format.storage.paths import CachePath


def free_disk_bytes(folder: CachePath) -> int | None:
    """Free bytes on the disk of a folder, which need not exist; None if unknown, as in a bucket."""
    if not isinstance(folder, Path):
        return None
    statistics = os.statvfs(existing_folder(folder))
    return statistics.f_bavail * statistics.f_frsize


def existing_folder(folder: Path) -> Path:
    """A folder, or the nearest one above it that exists, on whose disk it would be created."""
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())
