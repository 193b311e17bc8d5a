"""Opens a cache and reads images in any order, straight from byte ranges, checksums verified."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import DTypeLike

from losa.cache_format.codecs import Calibration, Codec, Codes, make_codec
from losa.cache_format.constants import calibration_of, read_constants
from losa.cache_format.errors import CacheError, CorruptCache
from losa.cache_format.index import read_index
from losa.cache_format.keys import read_keys
from losa.cache_format.labels import read_labels
from losa.cache_format.manifest import LabelColumn, Manifest
from losa.cache_format.paths import cache_folder
from losa.cache_format.segment_files import SCALE_DTYPE, SegmentFiles
from losa.cache_format.segment_reader import SegmentReader
from losa.cache_format.sites import SiteSelection, select_sites
from losa.cache_format.statistics import NO_VALUES, SiteStatistics


class Cache:
    """A cache opened for reading. Holds the manifest and the constants, no features."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the cache at ``path``.

        Raises:
            CacheError: there is no cache there.
            CorruptCache: its manifest or constants are damaged.
        """
        self.path = cache_folder(path)
        self.manifest = Manifest.read(self.path)
        self.constants = read_constants(self.path, self.manifest.features)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the stored sites, in order."""
        return self.manifest.features.group.sites

    def calibration(self, sites: Sequence[str]) -> Calibration | None:
        """The codec's calibration for some sites, if the codec has one."""
        calibration = calibration_of(self.constants)
        return None if calibration is None else calibration.select([self.sites.index(s) for s in sites])

    def codec(self, sites: Sequence[str]) -> Codec:
        """The numpy codec for some sites."""
        return make_codec(self.manifest.features.codec, self.calibration(sites))

    def statistics(self) -> list[SiteStatistics]:
        """What was measured of each site while writing, over all committed shards.

        Raises:
            CorruptCache: a commit record is damaged.
        """
        total = [NO_VALUES] * len(self.sites)
        for segment in self.manifest.segments:
            files = SegmentFiles.of(self.path, self.manifest, segment)
            for shard in range(segment.shards):
                if files.commit_path(shard).exists():
                    measured = files.commit(shard).statistics
                    total = [a + b for a, b in zip(total, measured, strict=True)]
        return total

    def label_column(self, name: str) -> LabelColumn:
        """The description of a label column.

        Raises:
            CacheError: there is no such column; those that exist are listed.
        """
        for column in self.manifest.labels:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.manifest.labels) or "none"
        raise CacheError(f"{self.path} has no label column {name!r}; it has: {known}")

    def split(self, name: str, sites: SiteSelection | None = None) -> "Split":
        """Open a split for reading.

        Args:
            name: as listed in the manifest.
            sites: which of the stored sites, see `select_sites`; every one of them if None.

        Raises:
            IncompleteCache: extraction of the split is not finished.
        """
        return Split(self, name, self.sites if sites is None else select_sites(sites, self.sites))


class Split:
    """A split opened for reading: an ordered choice of stored images."""

    def __init__(self, cache: Cache, name: str, sites: tuple[str, ...]) -> None:
        self.cache = cache
        self.record = cache.manifest.split(name)
        self.sites = sites
        self._rows = read_index(cache.path, self.record)
        segments = cache.manifest.segments
        self._starts = np.cumsum([0, *(segment.images for segment in segments)])
        if self._rows.min() < 0 or self._rows.max() >= self._starts[-1]:
            raise CorruptCache(f"{cache.path}: the index of split {name!r} points outside the stored images")
        self._segment_of = np.searchsorted(self._starts, self._rows, side="right") - 1
        positions = [cache.sites.index(site) for site in sites]
        self._readers = {
            int(number): SegmentReader(
                SegmentFiles.of(cache.path, cache.manifest, segments[number]),
                self._rows[self._segment_of == number] - self._starts[number],
                positions,
            )
            for number in np.unique(self._segment_of)
        }

    def __len__(self) -> int:
        """Number of images."""
        return self.record.images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Sites, tokens, width of one image."""
        group = self.cache.manifest.features.group
        return (len(self.sites), group.tokens.count, group.width)

    @cached_property
    def keys(self) -> list[str]:
        """Key of every image."""
        stored = {
            number: read_keys(reader.files.folder, reader.files.segment)
            for number, reader in self._readers.items()
        }
        return [
            stored[int(number)][int(row - self._starts[number])]
            for number, row in zip(self._segment_of, self._rows, strict=True)
        ]

    @cached_property
    def valid(self) -> Bool[np.ndarray, "images"]:
        """False where the image could not be read when it was to be extracted."""
        return self._gather(lambda reader: reader.valid, bool)

    def labels(self, column: str) -> Int64[np.ndarray, "images"]:
        """Labels of every image; -1 where an image has none."""
        self.cache.label_column(column)
        return self._gather(
            lambda reader: read_labels(reader.files.folder, reader.files.segment, column), np.int64
        )

    def read(self, indices: Int64[np.ndarray, "batch"]) -> Codes:
        """Read images as codes, in the given order; duplicates are allowed.

        Args:
            indices: positions in the split, from 0; negative ones are refused.

        Raises:
            IndexError: a position is out of range.
            CorruptCache: bytes do not fit their checksum (verified when they are first read).
        """
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(
                f"indices from {indices.min()} to {indices.max()}: expected 0 to {len(self) - 1}"
            )
        files = next(iter(self._readers.values())).files
        values = np.empty((len(indices), *self.image_shape), files.storage)
        scales = np.empty((len(indices), *self.image_shape[:2]), SCALE_DTYPE) if files.scaled else None
        for position, index in enumerate(indices.tolist()):
            number = int(self._segment_of[index])
            row = int(self._rows[index] - self._starts[number])
            self._readers[number].read(row, values[position], None if scales is None else scales[position])
        return Codes(values, scales)

    def _gather(self, of_reader: Callable[[SegmentReader], np.ndarray], dtype: DTypeLike) -> np.ndarray:
        gathered = np.empty(len(self), dtype)
        for number, reader in self._readers.items():
            mine = self._segment_of == number
            gathered[mine] = of_reader(reader)[self._rows[mine] - self._starts[number]]
        return gathered
