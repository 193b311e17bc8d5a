"""Every file of a cache but shards, commit records and manifest: a pure function of its contents."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from losa.cache_format.contents import StoredSegment
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Manifest
from losa.cache_format.metadata.arrays import read_file
from losa.cache_format.metadata.constants import constant_arrays
from losa.cache_format.metadata.index import index_array, index_name
from losa.cache_format.metadata.keys import key_arrays
from losa.cache_format.metadata.labels import label_arrays
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.stores import make_store
from losa.cache_format.stores.base import SmallArray


def foundation_files(manifest: Manifest, constants: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """What every cache has: the groups, and the constants."""
    return _files(manifest, constant_arrays(constants), ["", "constants", "segments", "splits"])


def segment_files(cache: CachePath, manifest: Manifest, entry: StoredSegment) -> dict[str, bytes]:
    """Keys, labels and the description of the shards of a segment."""
    files = SegmentFiles.of(cache, manifest, entry.segment)
    folder = f"segments/{entry.segment.name}"
    described = files.store.segment_files(files.geometry)
    arrays = key_arrays(entry.keys) | label_arrays(entry.labels)
    return {
        **{f"{files.name}/{name}": content for name, content in described.items()},
        **_files(
            manifest,
            {f"{folder}/{name}": array for name, array in arrays.items()},
            [folder, f"{folder}/keys", f"{folder}/labels"],
        ),
    }


def split_files(manifest: Manifest, split: str, index: Int64[np.ndarray, "images two"]) -> dict[str, bytes]:
    """The index of a split."""
    return _files(manifest, {index_name(split): index_array(index)}, [f"splits/{split}"])


def damaged_files(cache: CachePath, manifest: Manifest) -> dict[str, CorruptCache]:
    """Small files that are not what the manifest says, with what is wrong about each."""
    damaged = {}
    for name in manifest.files:
        try:
            read_file(cache, manifest, name)
        except CorruptCache as error:
            damaged[name] = error
    return damaged


def _files(manifest: Manifest, arrays: Mapping[str, SmallArray], groups: Sequence[str]) -> dict[str, bytes]:
    store = make_store(manifest.store)
    files = {
        f"{group}/{name}" if group else name: content
        for group in groups
        for name, content in store.group_files().items()
    }
    for name, array in arrays.items():
        files |= store.array_files(name, array)
    return {f"{store.root}/{name}": content for name, content in files.items()}
