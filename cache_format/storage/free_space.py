"""How much still fits at a cache's place."""

import os
from pathlib import Path

from losa.cache_format.storage.paths import CachePath


def free_disk_bytes(folder: CachePath) -> int | None:
    """Free bytes where a folder stands or is to stand; None where nobody can tell, as in a bucket."""
    if not isinstance(folder, Path):
        return None
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    statistics = os.statvfs(there)
    return statistics.f_bavail * statistics.f_frsize
