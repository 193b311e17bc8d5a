"""Label columns of a segment: int64, -1 where an image has no label."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import hash_array
from losa.cache_format.manifest import Segment
from losa.cache_format.zarr_layout import read_array, write_array, write_group

MISSING_LABEL = -1


def write_labels(folder: Path, labels: Mapping[str, Int64[np.ndarray, "images"]]) -> None:
    """Write one array per column into the group ``labels`` of a segment."""
    write_group(folder / "labels")
    for column, values in labels.items():
        write_array(folder / "labels" / column, values, ["images"])


def read_labels(folder: Path, segment: Segment, column: str) -> Int64[np.ndarray, "images"]:
    """One label column of a segment.

    Raises:
        CorruptCache: it is missing, or not the one whose hash stands in the manifest.
    """
    labels = read_array(folder / "labels" / column, "int64", [segment.images])
    if hash_array(labels) != segment.labels.get(column):
        raise CorruptCache(f"{folder / 'labels' / column}: not the labels whose hash stands in the manifest")
    return labels
