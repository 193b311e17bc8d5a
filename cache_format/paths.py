"""Folders inside a cache: the manifest stands beside one zarr group that holds every array."""

from pathlib import Path

ARRAYS_NAME = "arrays.zarr"


def arrays_folder(cache: Path) -> Path:
    """The zarr group."""
    return cache / ARRAYS_NAME


def constants_folder(cache: Path) -> Path:
    """Group of the frozen arrays."""
    return arrays_folder(cache) / "constants"


def segment_folder(cache: Path, segment: str) -> Path:
    """Group of one segment."""
    return arrays_folder(cache) / "segments" / segment


def split_folder(cache: Path, split: str) -> Path:
    """Group of one split."""
    return arrays_folder(cache) / "splits" / split
