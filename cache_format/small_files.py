"""Every file of a cache but shards, commit records and manifest: a pure function of its contents."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Int64

from losa.cache_format.arrays import read_file
from losa.cache_format.constants import CONSTANT_AXES, constant_arrays, read_constant
from losa.cache_format.contents import StoredSegment
from losa.cache_format.errors import CorruptCache
from losa.cache_format.index import index_array, index_name, read_index
from losa.cache_format.keys import key_arrays, read_keys
from losa.cache_format.labels import label_arrays, read_labels
from losa.cache_format.manifest import Manifest
from losa.cache_format.paths import CachePath
from losa.cache_format.segment_files import SegmentFiles
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
    """Small files that are not what the manifest says, with what is wrong about each.

    The checksums of files are not enough: a file of the zarr store ends with the crc32c of what stands
    before, which makes the crc32c of the whole the same number for all contents of one size. So the arrays
    are compared with their hashes too.
    """
    damaged = {}
    for name in manifest.files:
        try:
            read_file(cache, manifest, name)
        except CorruptCache as error:
            damaged[name] = error
    store = make_store(manifest.store)
    for arrays, read in _contents(cache, manifest):
        names = [f"{store.root}/{store.array_file(name, axes)}" for name, axes in arrays]
        if not damaged.keys().isdisjoint(names):
            continue
        try:
            read()
        except CorruptCache as error:
            damaged |= dict.fromkeys(names, error)
    return damaged


_ArrayFile = tuple[str, int]
"""Name of an array, and the number of its axes."""


def _contents(
    cache: CachePath, manifest: Manifest
) -> Iterator[tuple[list[_ArrayFile], Callable[[], object]]]:
    """Small arrays whose hashes the manifest has, and what reads and compares them."""
    for name in manifest.features.constants:
        if name in CONSTANT_AXES:
            array = (f"constants/{name}", len(CONSTANT_AXES[name]))
            yield [array], partial(read_constant, cache, manifest, name)
    for segment in manifest.segments:
        folder = f"segments/{segment.name}"
        keys = [(f"{folder}/keys/offsets", 1), (f"{folder}/keys/bytes", 1)]
        yield keys, partial(read_keys, cache, manifest, segment)
        for column in manifest.labels:
            array = (f"{folder}/labels/{column.name}", 1)
            yield [array], partial(read_labels, cache, manifest, segment, column.name)
    for record in manifest.splits:
        yield [(index_name(record.name), 2)], partial(read_index, cache, manifest, record)


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
