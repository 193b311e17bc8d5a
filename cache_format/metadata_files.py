"""The content of every metadata file, as a pure function of what the cache holds."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from losa.cache_format.contents import StoredSegment
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.constants import constant_arrays
from losa.cache_format.metadata.index import index_array, index_name
from losa.cache_format.metadata.keys import key_arrays
from losa.cache_format.metadata.labels import label_arrays
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.stores import Store
from losa.cache_format.stores.base import MetadataArray


def foundation_metadata(store: Store, constants: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Metadata files of every cache: its groups and its constants."""
    return _files(store, constant_arrays(constants), ["", "constants", "segments", "splits"])


def segment_metadata(metadata: CacheMetadata, entry: StoredSegment) -> dict[str, bytes]:
    """Metadata files of a segment: keys, labels and the descriptions of the arrays in its shards."""
    files = SegmentFiles.of(metadata, entry.segment)
    folder = f"segments/{entry.segment.name}"
    described = files.store.shard_descriptions(files.geometry)
    arrays = key_arrays(entry.keys) | label_arrays(entry.labels)
    return {
        **{f"{files.name}/{name}": content for name, content in described.items()},
        **_files(
            files.store,
            {f"{folder}/{name}": array for name, array in arrays.items()},
            [folder, f"{folder}/keys", f"{folder}/labels"],
        ),
    }


def split_metadata(store: Store, split: str, index: Int64[np.ndarray, "images two"]) -> dict[str, bytes]:
    """Metadata files of a split: its index."""
    return _files(store, {index_name(split): index_array(index)}, [f"splits/{split}"])


def _files(store: Store, arrays: Mapping[str, MetadataArray], groups: Sequence[str]) -> dict[str, bytes]:
    files = {
        f"{group}/{name}" if group else name: content
        for group in groups
        for name, content in store.group_files().items()
    }
    for name, array in arrays.items():
        files |= store.array_files(name, array)
    return {f"{store.root}/{name}": content for name, content in files.items()}
