"""Small files of a cache: arrays that are read as a whole, and what describes the shards.

Each of them stands in the manifest with its size and checksum, so that every byte of a cache is covered:
shards by their commit records, small files by the manifest, both of these by a checksum of their own.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Manifest
from losa.cache_format.storage.file_record import record_of
from losa.cache_format.storage.paths import CachePath, cannot_read
from losa.cache_format.storage.publish import make_folder, publish
from losa.cache_format.stores import make_store


def publish_files(cache: CachePath, files: Mapping[str, bytes]) -> None:
    """Publish small files; names are relative to the cache."""
    for name, content in files.items():
        make_folder((cache / name).parent)
        publish(cache / name, content)


def read_file(cache: CachePath, manifest: Manifest, name: str) -> bytes:
    """The content of a small file.

    Raises:
        CorruptCache: the file is missing, or not the one whose record stands in the manifest. (Not
            IncompleteCache: a manifest is published after the files it speaks of.)
    """
    path = cache / name
    record = manifest.files.get(name)
    if record is None:
        raise CorruptCache(f"{path}: the manifest has no record of this file")
    try:
        found = path.stat().st_size
        if found != record.bytes:
            raise CorruptCache(f"{path}: expected {record.bytes} bytes, found {found}")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise CorruptCache(f"{path}: expected {record.bytes} bytes, found no file") from None
    except OSError as error:
        raise cannot_read(path, error) from error
    if record_of(data) != record:
        raise CorruptCache(f"{path}: its crc32 is not the one in the manifest")
    return data


def read_array(
    cache: CachePath, manifest: Manifest, name: str, dtype: str, shape: Sequence[int]
) -> Shaped[np.ndarray, "*shape"]:
    """Read a small array, knowing dtype and shape from elsewhere.

    Raises:
        CorruptCache: its file is missing or damaged, or has another size than these ask for.
    """
    count = math.prod(shape)
    if not count:
        return np.empty(shape, dtype)
    store = make_store(manifest.store)
    file = f"{store.root}/{store.array_file(name, len(shape))}"
    size = count * np.dtype(dtype).itemsize
    values = store.array_bytes(read_file(cache, manifest, file), size)
    if len(values) != size:
        raise CorruptCache(f"{cache / file}: expected {size} bytes of values, found a file of another size")
    return np.frombuffer(values, np.dtype(dtype).newbyteorder("<")).reshape(shape)
