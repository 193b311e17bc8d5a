"""The index vector of a split: for each of its images the row where it is stored.

Rows are counted over all segments laid end to end, in the order of the manifest.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import hash_array
from losa.cache_format.manifest import SplitRecord
from losa.cache_format.paths import split_folder
from losa.cache_format.zarr_layout import read_array, write_array, write_group


def write_index(cache: Path, split: str, index: Int64[np.ndarray, "images"]) -> None:
    """Write the index vector of a split."""
    write_group(split_folder(cache, split))
    write_array(split_folder(cache, split) / "index", index, ["images"])


def read_index(cache: Path, record: SplitRecord) -> Int64[np.ndarray, "images"]:
    """Read the index vector of a split.

    Raises:
        CorruptCache: it is missing, or not the one whose hash stands in the manifest.
    """
    folder = split_folder(cache, record.name) / "index"
    index = read_array(folder, "int64", [record.images])
    if hash_array(index) != record.index_sha256:
        raise CorruptCache(f"{folder}: not the index whose hash stands in the manifest")
    return index
