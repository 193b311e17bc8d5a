"""Label columns of a segment: int64, -1 where an image has no label."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from losa.cache_format.common.hashes import hash_array
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Segment
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.stores.base import MetadataArray

MISSING_LABEL = -1


def label_arrays(labels: Mapping[str, Int64[np.ndarray, "images"]]) -> dict[str, MetadataArray]:
    """The label columns of a segment as metadata arrays ``labels/<column>``."""
    return {f"labels/{column}": MetadataArray(values, ("images",)) for column, values in labels.items()}


def read_labels(metadata: CacheMetadata, segment: Segment, column: str) -> Int64[np.ndarray, "images"]:
    """Read one label column of a segment.

    Raises:
        CorruptCache: the column is missing or does not have the hash in the manifest.
    """
    name = f"segments/{segment.name}/labels/{column}"
    labels = metadata.read_array(name, "int64", [segment.images])
    if hash_array(labels) != segment.labels_sha256.get(column):
        raise CorruptCache(
            f"{metadata.path}: labels {column!r} of segment {segment.name!r} are not those whose hash is in "
            "the manifest"
        )
    return labels
