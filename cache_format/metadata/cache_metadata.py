"""A cache's folder and its manifest, from which every metadata file is read.

Metadata files are keys, labels, indices, constants, and the descriptions of groups and arrays. The manifest
records size and checksum of each, so every byte of a cache is covered: shards by their commit records,
metadata files by the manifest, commit records and the manifest by a checksum of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Shaped

from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Manifest
from losa.cache_format.storage.file_record import record_of
from losa.cache_format.storage.paths import CachePath, cannot_read
from losa.cache_format.stores import Store, make_store


@dataclass(frozen=True)
class CacheMetadata:
    """The folder of a cache and its manifest."""

    path: CachePath
    """Folder of the cache."""
    manifest: Manifest

    @classmethod
    def read(cls, path: CachePath) -> "CacheMetadata":
        """Read the manifest of the cache at ``path``.

        Raises:
            CacheError: there is no cache, or it has a version this losa does not know.
            CorruptCache: the manifest is damaged.
        """
        return cls(path, Manifest.read(path))

    @property
    def store(self) -> Store:
        """The store that lays out the cache's arrays."""
        return make_store(self.manifest.store)

    @cached_property
    def features_sha256(self) -> str:
        """Hash of the feature identity, computed once."""
        return self.manifest.features.sha256

    def array_file(self, name: str, axes: int) -> str:
        """The file with the values of a metadata array of ``axes`` axes, relative to the cache."""
        return f"{self.store.root}/{self.store.array_file(name, axes)}"

    def read_file(self, name: str) -> bytes:
        """Read a metadata file.

        Args:
            name: path relative to the cache.

        Raises:
            CorruptCache: the file is missing, or differs from its record in the manifest. (Not
                IncompleteCache: a manifest is published after the files that it records.)
        """
        path = self.path / name
        record = self.manifest.files.get(name)
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

    def read_array(self, name: str, dtype: str, shape: Sequence[int]) -> Shaped[np.ndarray, "*shape"]:
        """Read a metadata array whose dtype and shape are known from elsewhere.

        Raises:
            CorruptCache: its file is missing or damaged, or its size does not fit dtype and shape.
        """
        count = math.prod(shape)
        if not count:
            return np.empty(shape, dtype)
        file = self.array_file(name, len(shape))
        size = count * np.dtype(dtype).itemsize
        values = self.store.array_bytes(self.read_file(file), size)
        if len(values) != size:
            raise CorruptCache(
                f"{self.path / file}: expected {size} bytes of values, found a file of another size"
            )
        return np.frombuffer(values, np.dtype(dtype).newbyteorder("<")).reshape(shape)

    def damaged_files(self) -> dict[str, CorruptCache]:
        """Metadata files that differ from their records: name -> problem."""
        damaged = {}
        for name in self.manifest.files:
            try:
                self.read_file(name)
            except CorruptCache as error:
                damaged[name] = error
        return damaged
