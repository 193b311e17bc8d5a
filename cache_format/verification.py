"""Reads every byte of a cache and lists all damage, not only the first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from losa.cache_format.common.hashes import hash_keys
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import MANIFEST_NAME, SplitRecord
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.constants import check_constants, constant_file, read_constant
from losa.cache_format.metadata.index import index_name, read_index
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.metadata.labels import read_labels
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_check import BadShard, ShardCheck
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX
from losa.cache_format.storage.byte_ranges import open_ranges
from losa.cache_format.storage.paths import CachePath, cache_folder
from losa.cache_format.storage.remote import size_of, sizes_below

Progress = Callable[[int, int], None]
"""Called with the number of bytes read so far, and the total number of bytes."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFile:
    """A metadata file that is missing or damaged."""

    name: str
    """Path relative to the cache."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of verifying a cache."""

    bytes: int
    """Bytes that were read and compared with checksums."""
    files: int
    """Number of files that were read or are missing."""
    images: int
    """Number of images in the committed shards, damaged images included."""
    bad_files: tuple[BadFile, ...]
    """Damaged or missing metadata files."""
    bad_shards: tuple[BadShard, ...]
    """Damaged committed shards, each with its damaged images."""
    missing_shards: Mapping[str, int]
    """Segment -> number of its uncommitted shards, for incomplete segments. An incomplete segment is not
    damaged: extraction can be resumed."""
    strays: tuple[str, ...]
    """Paths, relative to the cache, of files that neither the manifest nor a shard accounts for: leftovers of
    a killed writer or of dropped splits, or files of other origin. They do no harm."""

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged. Shards may be missing."""
        return not (self.bad_files or self.bad_shards)


def verify(path: str | CachePath, progress: Progress | None = None) -> Verification:
    """Read every byte of a cache and compare it with its checksum.

    Shards are read in blocks of a few MiB, so their size does not affect the use of memory. Keys and labels
    are held in memory as a whole.

    Args:
        path: folder or URL of the cache.
        progress: called after every block with the number of bytes read so far, and that of all bytes.

    Returns:
        What was read, and all damage, which is not raised.

    Raises:
        CacheError: there is no cache, or its files cannot be read for another reason than damage.
        CorruptCache: the manifest is damaged, without which nothing else can be verified.
    """
    metadata = CacheMetadata.read(cache_folder(path))
    cache, manifest, root = metadata.path, metadata.manifest, metadata.store.root
    sizes = {f"{root}/{name}": size for name, size in sizes_below(cache / root).items()}
    own = size_of(cache / MANIFEST_NAME) or 0
    tally = _Tally(own + sum(sizes.values()), progress)
    bad_files, keys = _bad_files(metadata)
    tally.add(own + sum(sizes.get(name, 0) for name in manifest.files))
    ranges = open_ranges(cache)
    bad_shards: list[BadShard] = []
    missing: dict[str, int] = {}
    files, images = 1 + len(manifest.files), 0
    segments = [SegmentFiles.of(metadata, segment) for segment in manifest.segments]
    for of_segment in segments:
        segment = of_segment.segment
        recorded = of_segment.recorded()
        if len(recorded) < segment.shards:
            missing[segment.name] = segment.shards - len(recorded)
        check = ShardCheck(of_segment, ranges, keys[segment.number], tally.add)
        bad_shards += check.run(recorded)
        for shard in recorded:
            files += 1 + len(of_segment.shard_paths(shard))
            images += len(segment.rows(shard))
            tally.add(sizes.get(of_segment.record_name(shard), 0))
    return Verification(
        bytes=tally.done,
        files=files,
        images=images,
        bad_files=tuple(bad_files),
        bad_shards=tuple(bad_shards),
        missing_shards=missing,
        strays=tuple(_strays(metadata, segments, sizes)),
    )


class _Tally:
    """Counts the bytes read and reports progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done = 0
        self._total = total
        self._progress = progress

    def add(self, count: int) -> None:
        self.done += count
        if self._progress is not None and count:
            self._progress(self.done, max(self.done, self._total))


def _bad_files(metadata: CacheMetadata) -> tuple[list[BadFile], dict[int, list[str] | None]]:
    """Find metadata files with wrong bytes, and arrays that do not fit the manifest.

    Returns:
        The bad files, and the keys of every segment by its number; None for damaged keys.
    """
    manifest = metadata.manifest
    found = {name: str(error) for name, error in metadata.damaged_files().items()}

    def whole(name: str, read: Callable[[], Value]) -> Value | None:
        if name in found:
            return None
        try:
            return read()
        except CorruptCache as error:
            found[name] = str(error)
            return None

    check_constants(metadata)
    for name in manifest.features.constants:
        whole(constant_file(metadata, name), partial(read_constant, metadata, name))
    keys: dict[int, list[str] | None] = {}
    for segment in manifest.segments:
        folder = f"segments/{segment.name}"
        offsets = metadata.array_file(f"{folder}/keys/offsets", 1)
        texts = metadata.array_file(f"{folder}/keys/bytes", 1)
        read = partial(read_keys, metadata, segment)
        keys[segment.number] = None if offsets in found else whole(texts, read)
        for column in manifest.labels:
            name = metadata.array_file(f"{folder}/labels/{column.name}", 1)
            whole(name, partial(read_labels, metadata, segment, column.name))
    for record in manifest.splits:
        name = metadata.array_file(index_name(record.name), 2)
        whole(name, partial(_check_split, metadata, record, keys))
    return [BadFile(name=name, problem=problem) for name, problem in found.items()], keys


def _check_split(metadata: CacheMetadata, record: SplitRecord, keys: Mapping[int, list[str] | None]) -> None:
    """Check that the index of a split leads to its keys.

    Raises:
        CorruptCache: the index is damaged, or leads to other keys.
    """
    index = read_index(metadata, record).tolist()
    needed = {number: keys[number] for number in {number for number, _ in index}}
    known = {number: stored for number, stored in needed.items() if stored is not None}
    if len(known) == len(needed) and hash_keys(known[n][row] for n, row in index) != record.keys_sha256:
        raise CorruptCache(
            f"{metadata.path}: the index of split {record.name!r} does not lead to the keys whose hash is in "
            "the manifest"
        )


def _strays(
    metadata: CacheMetadata, segments: Sequence[SegmentFiles], sizes: Mapping[str, int]
) -> Iterator[str]:
    """Paths of files that neither the manifest nor a shard accounts for, in order."""
    temporary = MANIFEST_NAME + TEMPORARY_SUFFIX
    if (metadata.path / temporary).exists():
        yield temporary
    for name in sorted(sizes):
        if name not in metadata.manifest.files and not any(files.accounts_for(name) for files in segments):
            yield name
