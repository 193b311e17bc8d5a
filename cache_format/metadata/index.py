"""The index of a split: the number of the segment and the row there of each of its images."""

import numpy as np
from jaxtyping import Int64

from losa.cache_format.common.distinct import distinct
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import SplitRecord
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.stores.base import MetadataArray


def index_array(index: Int64[np.ndarray, "images two"]) -> MetadataArray:
    """The index of a split as a metadata array."""
    return MetadataArray(index, ("images", "place"))


def index_name(split: str) -> str:
    """Name of the array that holds the index of a split."""
    return f"splits/{split}/index"


def read_index(metadata: CacheMetadata, record: SplitRecord) -> Int64[np.ndarray, "images two"]:
    """Read the index of a split.

    Raises:
        CorruptCache: the index is missing, does not have the hash in the manifest, or points to an image
            that is not in the manifest.
    """
    index = metadata.read_array(index_name(record.name), "int64", [record.images, 2])
    if hash_array(index) != record.index_sha256:
        raise CorruptCache(
            f"{metadata.path}: the index of split {record.name!r} is not the one whose hash is in "
            "the manifest"
        )
    images = {segment.number: segment.images for segment in metadata.manifest.segments}
    for number in distinct(index[:, 0]).tolist():
        rows = index[index[:, 0] == number, 1]
        if number not in images or rows.min() < 0 or rows.max() >= images[number]:
            raise CorruptCache(
                f"{metadata.path}: the index of split {record.name!r} points outside the stored images"
            )
        if len(distinct(rows)) != len(rows):
            raise CorruptCache(
                f"{metadata.path}: the index of split {record.name!r} points to an image twice"
            )
    return index


def image_ids(index: Int64[np.ndarray, "images two"]) -> Int64[np.ndarray, "images"]:
    """A unique number for every image, the same in all splits of the cache that contain the image."""
    ids: np.ndarray = (index[:, 0] << np.int64(40)) + index[:, 1]
    return ids
