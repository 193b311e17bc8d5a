"""The files and folders that a name or a pattern means."""

import glob
from pathlib import Path

from losa.cache_format.storage.paths import local_path


def matching_paths(place: str) -> list[Path]:
    """The path with a name, or the sorted ones that it matches as a pattern such as ``photos/**/*.jpg``.

    What exists is taken by its name, which may have the signs of a pattern in it.
    """
    path = local_path(place)
    if path.exists():
        return [path]
    # Not Path.glob, which takes no absolute patterns.
    return [Path(found) for found in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
