"""Opens a cache and reads images in any order from byte ranges, with their checksums verified."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy.typing import DTypeLike
from upath import UPath

from losa.cache_format.codecs import Calibration, Codec, CodeLayout, Codes, code_layout, make_codec
from losa.cache_format.common.distinct import distinct
from losa.cache_format.common.hashes import hash_keys
from losa.cache_format.common.work_threads import WorkThreads
from losa.cache_format.errors import CacheError, CorruptCache
from losa.cache_format.manifest import LabelColumn, Manifest, SplitRecord
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.constants import calibration_of, read_constants
from losa.cache_format.metadata.index import read_index
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.metadata.labels import read_labels
from losa.cache_format.positions import Positions, as_positions
from losa.cache_format.shards.buffers import empty_codes
from losa.cache_format.shards.read_threads import default_threads
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.segment_reader import SegmentReader
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES
from losa.cache_format.shards.statistics import SiteStatistics, total_statistics
from losa.cache_format.sites import SiteSelection
from losa.cache_format.storage.byte_ranges import open_ranges
from losa.cache_format.storage.paths import CachePath, cache_folder


class Cache:
    """A cache opened for reading. It holds the manifest and the constants in memory, but no features.

    Attributes:
        metadata: its folder and its manifest.
        constants: its frozen arrays by name, float32: ``centre`` and ``spread``, ``(sites, width)``, if the
            codec has a calibration; ``final_norm.weight`` and ``final_norm.bias``, ``(width,)``, as far as
            the backbone has them.
    """

    def __init__(self, path: str | os.PathLike[str] | UPath) -> None:
        """Open the cache at ``path``.

        Args:
            path: folder or URL of the cache.

        Raises:
            CacheError: there is no cache there, it has a version this losa does not know, or it cannot be
                read.
            CorruptCache: its manifest or constants are damaged.
        """
        self.metadata = CacheMetadata.read(cache_folder(path))
        self.constants = read_constants(self.metadata)

    @property
    def path(self) -> CachePath:
        """Folder of the cache."""
        return self.metadata.path

    @property
    def manifest(self) -> Manifest:
        """The cache's manifest."""
        return self.metadata.manifest

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the stored sites, in order."""
        return self.manifest.features.group.sites

    def calibration(self, sites: Sequence[str]) -> Calibration | None:
        """The codec's calibration for the given sites; None if the codec has no calibration.

        Args:
            sites: names of stored sites, in any order.

        Raises:
            CacheError: a site is not stored.
        """
        if unknown := [site for site in sites if site not in self.sites]:
            raise CacheError(f"{self.path} has no site {unknown[0]!r}; it has: {', '.join(self.sites)}")
        calibration = calibration_of(self.constants)
        return None if calibration is None else calibration.select([self.sites.index(s) for s in sites])

    def codec(self, sites: Sequence[str]) -> Codec:
        """The numpy codec for the codes of the given sites.

        Args:
            sites: names of stored sites, in the order in which the codes have them.

        Raises:
            CacheError: a site is not stored.
        """
        return make_codec(self.manifest.features.codec, self.calibration(sites))

    def statistics(self) -> list[SiteStatistics]:
        """Statistics of each site, measured during extraction, over all committed shards.

        Returns:
            One entry for each of `sites`, in their order.

        Raises:
            CorruptCache: a commit record is damaged, or a file has another size than it says.
        """
        committed = (
            commit.statistics
            for segment in self.manifest.segments
            for commit in SegmentFiles.of(self.metadata, segment).committed()
        )
        return total_statistics(committed, len(self.sites))

    def keys(self, split: str) -> list[str]:
        """Keys of the images of a split, whether they are extracted or not.

        Args:
            split: name of the split in the manifest.

        Returns:
            One key for each image, in the order of the split.

        Raises:
            CacheError: there is no such split.
            CorruptCache: keys or index are damaged.
        """
        record = self.manifest.split(split)
        keys = self.keys_at(read_index(self.metadata, record))
        if hash_keys(keys) != record.keys_sha256:
            raise CorruptCache(
                f"{self.path}: the keys of split {split!r} are not those whose hash is in the manifest"
            )
        return keys

    def keys_at(self, index: Int64[np.ndarray, "images two"]) -> list[str]:
        """Keys of images, given by the numbers of their segments and their rows there.

        Args:
            index: int64 ``(images, 2)``: for each image the number of its segment and its row there.

        Raises:
            CorruptCache: keys are damaged.
        """
        stored = {
            segment.number: read_keys(self.metadata, segment)
            for segment in self.manifest.segments
            if (index[:, 0] == segment.number).any()
        }
        keys = np.empty(len(index), object)
        for number, of_segment in stored.items():
            mine = index[:, 0] == number
            keys[mine] = [of_segment[row] for row in index[mine, 1].tolist()]
        return list(keys)

    def label_column(self, name: str) -> LabelColumn:
        """The description of a label column.

        Args:
            name: name of the column.

        Raises:
            CacheError: there is no such column; the message lists those that exist.
        """
        for column in self.manifest.labels:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.manifest.labels) or "none"
        raise CacheError(f"{self.path} has no label column {name!r}; it has: {known}")

    def split(self, name: str, sites: SiteSelection | None = None, threads: int | None = None) -> "Split":
        """Open a split for reading.

        Args:
            name: name of the split in the manifest.
            sites: selection of the stored sites, see `FeatureIdentity.select`; all of them if None.
            threads: number of threads that share a read; if None, the number of cores, 4 at most. A remote
                cache is read by one thread, which requests everything at once.

        Returns:
            The split, of which no activations are read yet.

        Raises:
            LosaError: the selection of sites is wrong, or a site is not stored.
            CacheError: there is no such split.
            CorruptCache: the index or a commit record is damaged, or a file has another size than recorded.
            IncompleteCache: extraction of the split is not finished.
        """
        record = self.manifest.split(name)
        return self._open(read_index(self.metadata, record), name, sites, threads, record)

    def select(
        self,
        index: Int64[np.ndarray, "images two"],
        name: str,
        sites: SiteSelection | None = None,
        threads: int | None = None,
    ) -> "Split":
        """Open chosen images for reading, like a split that the manifest does not list.

        Args:
            index: int64 ``(images, 2)``: for each image the number of its segment and its row there, as in
                the index of a split. They have to be in the manifest, which is not checked.
            name: name in messages.
            sites: as in `split`.
            threads: as in `split`.

        Returns:
            The images as a split, in the order of the index.

        Raises:
            LosaError: the selection of sites is wrong, or a site is not stored.
            CorruptCache: a commit record is damaged, or a file has another size than recorded.
            IncompleteCache: images are not extracted yet.
        """
        return self._open(index, name, sites, threads, None)

    def activations(
        self, split: str, indices: Positions = slice(None), sites: SiteSelection | None = None
    ) -> Float32[np.ndarray, "images sites tokens width"]:
        """Activations of images of a split, see `Split.activations`.

        Args:
            split: name of the split in the manifest.
            indices: as in `Split.read`; all images by default.
            sites: as in `split`.

        Returns:
            float32 ``(images, sites, tokens, width)``. Images that could not be decoded during extraction
            (`Split.valid` is False) are decoded from zeros.

        Raises:
            LosaError: the selection of sites is wrong, or a site is not stored.
            CacheError: there is no such split, or a file cannot be read.
            CorruptCache: bytes do not fit their checksum, or other parts of the cache are damaged.
            IncompleteCache: extraction of the split is not finished.
            IndexError: a position is out of range.
            TypeError: positions are no integers.
        """
        return self.split(split, sites).activations(indices)

    def _open(
        self,
        index: Int64[np.ndarray, "images two"],
        name: str,
        sites: SiteSelection | None,
        threads: int | None,
        record: SplitRecord | None,
    ) -> "Split":
        chosen = self.sites if sites is None else self.manifest.features.select(sites)
        return Split(self, index, name, chosen, threads or default_threads(), record)


class Split:
    """A split opened for reading: an ordered selection of stored images. `Cache.split` opens one.

    It is a sequence of activations: ``split[3]`` are those of one image, ``split[:32]`` and ``split[[5, 2]]``
    of several.

    Attributes:
        cache: the cache that it is a part of.
        index: int64 ``(images, 2)``: for each image the number of its segment and its row there.
        name: name of the split, or of the selection.
        sites: names of the sites that are read, in the order of the stored ones.
    """

    def __init__(
        self,
        cache: Cache,
        index: Int64[np.ndarray, "images two"],
        name: str,
        sites: tuple[str, ...],
        threads: int,
        record: SplitRecord | None,
    ) -> None:
        """Find the images; see `Cache.split` and `Cache.select`, which check the arguments.

        Args:
            cache: the cache.
            index: int64 ``(images, 2)``: for each image the number of its segment and its row there.
            name: name in messages.
            sites: names of the stored sites to read, in their order.
            threads: number of threads that share a read.
            record: the record in the manifest, by which `keys` are checked; None if there is none.

        Raises:
            CorruptCache: a commit record is damaged, or a file has another size than recorded.
            IncompleteCache: images are not extracted yet.
        """
        self.cache = cache
        self.index = index
        self.name = name
        self.sites = sites
        self._record = record
        self._segment_of, self._rows = index[:, 0], index[:, 1]
        positions = [cache.sites.index(site) for site in sites]
        ranges = open_ranges(cache.path)
        self._readers = {
            segment.number: SegmentReader(
                SegmentFiles.of(cache.metadata, segment),
                self._rows[self._segment_of == segment.number],
                positions,
                ranges,
            )
            for segment in cache.manifest.segments
            if (self._segment_of == segment.number).any()
        }
        self._threads = WorkThreads(1 if ranges.together else threads)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.index)

    @overload
    def __getitem__(self, index: int) -> Float32[np.ndarray, "sites tokens width"]: ...
    @overload
    def __getitem__(self, index: Positions) -> Float32[np.ndarray, "images sites tokens width"]: ...
    def __getitem__(self, index: int | Positions) -> Float32[np.ndarray, "..."]:
        """Activations of one image, given by its position from 0, or of several; see `activations`.

        Args:
            index: a position, or positions as in `read`.

        Returns:
            float32 ``(sites, tokens, width)`` of one image, ``(images, sites, tokens, width)`` of several.

        Raises:
            IndexError: a position is negative or out of range.
            TypeError: positions are no integers.
            CacheError: a file cannot be read.
            CorruptCache: bytes do not fit their checksum.
        """
        if isinstance(index, int | np.integer):
            (image,) = self.activations([int(index)])
            return np.asarray(image)
        return self.activations(index)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one decoded image: sites, tokens, width."""
        group = self.cache.manifest.features.group
        return (len(self.sites), group.tokens.count, group.width)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image as codes and scales, in memory: uncompressed."""
        return empty_codes(self._layout, (1, *self.image_shape[:2])).nbytes

    @cached_property
    def keys(self) -> list[str]:
        """Keys of the images, in order.

        Raises:
            CorruptCache: keys are damaged.
        """
        return self.cache.keys_at(self.index) if self._record is None else self.cache.keys(self._record.name)

    @cached_property
    def valid(self) -> Bool[np.ndarray, "images"]:
        """False where the image could not be decoded during extraction."""
        return self._gather(lambda reader, rows: reader.valid(rows), bool)

    @cached_property
    def source_hashes(self) -> Shaped[np.ndarray, "images"]:
        """blake2b-128 of the file of every image, ``S16``: equal for copies under different keys.

        A view has the hash of its image; an image that is not `valid` has none, but zeros.
        """
        return self._gather(lambda reader, rows: reader.source_hashes(rows), f"S{SOURCE_HASH_BYTES}")

    def labels(self, column: str) -> Int64[np.ndarray, "images"]:
        """Label of every image; -1 where an image has none.

        Args:
            column: name of the label column.

        Returns:
            int64 ``(images,)``, from -1 to the number of classes of the column, exclusive.

        Raises:
            CacheError: there is no such column; the message lists those that exist.
            CorruptCache: labels are damaged.
        """
        num_classes = self.cache.label_column(column).num_classes

        def of_rows(reader: SegmentReader, rows: np.ndarray) -> np.ndarray:
            labels = read_labels(self.cache.metadata, reader.files.segment, column)
            if labels.max() >= num_classes:
                raise CorruptCache(
                    f"{self.cache.path}: label {labels.max()} in column {column!r} of {num_classes} classes"
                )
            return np.asarray(labels[rows])

        return self._gather(of_rows, np.int64)

    def activations(
        self, indices: Positions = slice(None)
    ) -> Float32[np.ndarray, "images sites tokens width"]:
        """Read images and decode them; those that are not `valid` are decoded from zeros.

        Args:
            indices: as in `read`; all images by default.

        Returns:
            float32 ``(images, sites, tokens, width)``.

        Raises:
            IndexError: a position is negative or out of range.
            TypeError: positions are no integers.
            CacheError: a file cannot be read.
            CorruptCache: bytes do not fit their checksum.
        """
        return self._codec.decode(self.read(indices))

    def read(self, indices: Positions, out: Codes | None = None) -> Codes:
        """Read images as codes, in the given order; duplicates are allowed.

        Args:
            indices: a slice of the split, or positions in it, from 0; negative positions are refused.
            out: codes returned by an earlier read of the same number of images, to be overwritten. Memory
                that was used before causes no page faults, which otherwise take a third of the time.

        Returns:
            The codes, ``out`` if it is given; their shapes and dtypes are those of `Codes`.

        Raises:
            IndexError: a position is negative or out of range.
            TypeError: positions are no integers.
            ValueError: ``out`` has arrays of another shape or dtype, or that are not C-contiguous.
            CacheError: a file cannot be read.
            CorruptCache: bytes do not fit their checksum, which is verified when they are first read.
        """
        indices = as_positions(indices, len(self))
        sites, tokens, _ = self.image_shape
        codes = empty_codes(self._layout, (len(indices), sites, tokens)) if out is None else out
        self._refuse_other_buffers(codes, len(indices))
        segments, rows = self._segment_of[indices], self._rows[indices]
        jobs = [
            (number, part)
            for number in distinct(segments).tolist()
            for part in self._threads.cut(np.flatnonzero(segments == number))
        ]

        def read_part(job: tuple[int, np.ndarray]) -> None:
            number, part = job
            self._readers[number].read(
                rows[part].tolist(),
                [codes.values[position] for position in part],
                None if codes.scales is None else [codes.scales[position] for position in part],
            )

        self._threads.map(read_part, jobs)
        return codes

    @cached_property
    def _codec(self) -> Codec:
        return self.cache.codec(self.sites)

    def _shapes(self, images: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        _, tokens, _ = self.image_shape
        layout = self._layout
        head = (images, len(self.sites), tokens)
        return (*head, layout.width), (*head, layout.groups)

    @property
    def _layout(self) -> CodeLayout:
        features = self.cache.manifest.features
        return code_layout(features.codec, features.group.width)

    def _refuse_other_buffers(self, codes: Codes, images: int) -> None:
        values, scales = self._shapes(images)
        layout = self._layout
        for array, shape, dtype in (
            (codes.values, values, layout.dtype),
            (codes.scales, scales, layout.scale_dtype),
        ):
            if (array is None) != (dtype is None) or (
                array is not None
                and ((array.shape, array.dtype) != (shape, np.dtype(dtype)) or not array.flags.c_contiguous)
            ):
                found = None if array is None else f"{array.dtype}{list(array.shape)}"
                raise ValueError(f"out: expected a C-contiguous {dtype}{list(shape)}, found {found}")

    def _gather(
        self, of_rows: Callable[[SegmentReader, np.ndarray], np.ndarray], dtype: DTypeLike
    ) -> np.ndarray:
        gathered = np.empty(len(self), dtype)
        for number, reader in self._readers.items():
            mine = self._segment_of == number
            gathered[mine] = of_rows(reader, self._rows[mine])
        return gathered
