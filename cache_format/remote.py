"""What is asked of an fsspec file system as one request, because one by one would take a round trip each."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from upath import UPath

from losa.cache_format.paths import CachePath


def read_existing(paths: Sequence[CachePath]) -> list[bytes | None]:
    """Contents of small files of one folder, in the given order; None where there is no file."""
    if not paths or isinstance(paths[0], Path):
        return [_read(path) for path in paths]
    names = [cast(UPath, path).path for path in paths]
    found = paths[0].fs.cat(names, on_error="omit")
    return [found.get(name) for name in names]


def sizes_below(folder: CachePath) -> dict[str, int]:
    """Every file below a folder, with its size in bytes, by path relative to it."""
    if isinstance(folder, Path):
        return {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
    folder.fs.invalidate_cache()  # another process may have written since it was listed
    root = folder.path.rstrip("/")
    found = folder.fs.find(root, detail=True)
    return {name[len(root) + 1 :]: int(entry["size"]) for name, entry in found.items()}


def _read(path: CachePath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
