"""The files of a segment, and its commit records."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from losa.cache_format.codecs import code_layout
from losa.cache_format.common.comparison import differences
from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Segment
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.commit import Commit
from losa.cache_format.storage.paths import CachePath, shell_path
from losa.cache_format.storage.remote import names_in, read_existing, sizes_below, sizes_of
from losa.cache_format.stores import Store
from losa.cache_format.stores.base import Chunked, ShardGeometry, Strided

RECORDS_AT_ONCE = 1024
"""Number of commit records whose bytes are in memory at a time; a bucket is asked for as many together."""


@dataclass(frozen=True)
class SegmentFiles:
    """Finds the files and reads the commit records of one segment of a cache."""

    metadata: CacheMetadata
    segment: Segment
    geometry: ShardGeometry

    @classmethod
    def of(cls, metadata: CacheMetadata, segment: Segment) -> "SegmentFiles":
        """The files of a segment, which need not exist yet."""
        features = metadata.manifest.features
        geometry = ShardGeometry(
            images=segment.images,
            rows_per_shard=segment.rows_per_shard,
            sites=len(features.group.sites),
            tokens=features.group.tokens.count,
            layout=code_layout(features.codec, features.group.width),
            compressor=metadata.manifest.compressor,
        )
        return cls(metadata, segment, geometry)

    @property
    def store(self) -> Store:
        """The store that lays out the segment's arrays."""
        return self.metadata.store

    @property
    def features_sha256(self) -> str:
        """Hash of the feature identity."""
        return self.metadata.features_sha256

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the stored sites, in order."""
        return self.metadata.manifest.features.group.sites

    @property
    def name(self) -> str:
        """Path of the segment's folder, relative to the cache."""
        return f"{self.store.root}/segments/{self.segment.name}"

    @cached_property
    def folder(self) -> CachePath:
        """The segment's folder."""
        return self.metadata.path / self.name

    def record_name(self, shard: int) -> str:
        """Path of the commit record of a shard, relative to the cache."""
        return f"{self.name}/{self.store.commit_file(shard)}"

    def shard_paths(self, shard: int) -> list[CachePath]:
        """Paths of the files of a shard; the first file contains the codes."""
        return [self.folder / name for name in self.store.shard_files(self.geometry, shard)]

    def commit_path(self, shard: int) -> CachePath:
        """Path of the commit record of a shard."""
        return self.folder / self.store.commit_file(shard)

    def commit(self, shard: int) -> Commit:
        """Read the commit record of a shard and check the sizes of its files.

        Raises:
            FileNotFoundError: the shard was not committed.
            CorruptCache: the record is damaged or belongs elsewhere, or a file has another size.
        """
        (found,) = self.commits([shard])
        if found is None:
            raise FileNotFoundError(self.commit_path(shard))
        if isinstance(found, CorruptCache):
            raise self.damaged(str(found))
        return found

    def commits(self, shards: Sequence[int]) -> Iterator[Commit | CorruptCache | None]:
        """Read the commit records of some shards, in order, and check the sizes of their files.

        Yields for each shard its record, None if it is not committed, or an error if its record is damaged
        or a file has another size than the record says.
        """
        listed = None if isinstance(self.folder, Path) else sizes_below(self.folder)
        for commit in self.records(shards):
            if isinstance(commit, Commit):
                try:
                    self._refuse_other_sizes(commit, listed)
                except CorruptCache as error:
                    yield error
                    continue
            yield commit

    def committed(self) -> Iterator[Commit]:
        """The records of all committed shards, in order.

        Raises:
            CorruptCache: a record is damaged, or a file has another size than its record says.
        """
        for commit in self.commits(self.recorded()):
            if isinstance(commit, CorruptCache):
                raise self.damaged(str(commit))
            if commit is not None:
                yield commit

    def damaged(self, problem: str) -> CorruptCache:
        """The error for a damaged shard, with what to do next."""
        return CorruptCache(
            f"{problem}. Run losa-cache repair {shell_path(self.metadata.path)}, then the losa-extract "
            "command that made the cache: it makes the damaged shards again"
        )

    def records(self, shards: Sequence[int]) -> Iterator[Commit | CorruptCache | None]:
        """Read the commit records of some shards like `commits`, but without checking the sizes of files."""
        for start in range(0, len(shards), RECORDS_AT_ONCE):
            part = shards[start : start + RECORDS_AT_ONCE]
            paths = [self.commit_path(shard) for shard in part]
            for shard, path, data in zip(part, paths, read_existing(paths), strict=True):
                if data is None or isinstance(data, CorruptCache):
                    yield data
                    continue
                try:
                    commit = Commit.parse(data, path)
                    self._refuse_other(commit, shard)
                except CorruptCache as error:
                    yield error
                else:
                    yield commit

    def recorded(self) -> list[int]:
        """Numbers of the shards that have a commit record, in order.

        They are found by listing the folder: the number of shards comes from a file and may be too large to
        count up to.
        """
        folder = self.commit_path(0).parent
        prefix = self.store.commit_file(0).rpartition("/")[0]
        numbers = [
            self._shard_of(f"{prefix}/{name}" if prefix else name, self._record_names)
            for name in names_in(folder)
        ]
        return sorted(number for number in numbers if number is not None)

    def accounts_for(self, name: str) -> bool:
        """Whether a file belongs to a shard of this segment or is its commit record.

        Args:
            name: path relative to the cache.
        """
        start = f"{self.name}/"
        return name.startswith(start) and self._shard_of(name.removeprefix(start), self._names) is not None

    def sizes(self, commit: Commit) -> dict[str, int | None]:
        """File name -> bytes of each file that a record names; None for a missing file."""
        return dict(zip(commit.files, sizes_of(self.folder, commit.files), strict=True))

    def _names(self, shard: int) -> list[str]:
        return [*self.store.shard_files(self.geometry, shard), *self._record_names(shard)]

    def _record_names(self, shard: int) -> list[str]:
        return [self.store.commit_file(shard)]

    def _shard_of(self, name: str, names_of: Callable[[int], Sequence[str]]) -> int | None:
        """The shard that has a given name among its names; None if there is none."""
        for digits in re.findall("[0-9]{1,13}", name.rpartition("/")[2]):
            if int(digits) < self.segment.shards and name in names_of(int(digits)):
                return int(digits)
        return None

    def _refuse_other(self, commit: Commit, shard: int) -> None:
        geometry = self.geometry
        belongs = {
            "features": self.features_sha256,
            "segment": self.segment.name,
            "keys": self.segment.keys_sha256,
            "shard": shard,
            "rows": len(self.segment.rows(shard)),
            "sites": len(self.sites),
            "files": sorted(self.store.shard_files(geometry, shard)),
            "codes": (Strided if geometry.compressor is None else Chunked).__name__,
            "scales": (Strided if geometry.site_scale_bytes else type(None)).__name__,
        }
        found = {
            "features": commit.features_sha256,
            "segment": commit.segment,
            "keys": commit.segment_keys_sha256,
            "shard": commit.shard,
            "rows": commit.rows,
            "sites": len(commit.statistics),
            "files": sorted(commit.files),
            "codes": type(commit.codes).__name__,
            "scales": type(commit.scales).__name__,
        }
        if found != belongs:
            wrong = differences(belongs, found)
            listed = ", ".join(f"{field} {expected!r}, found {other!r}" for field, expected, other in wrong)
            raise CorruptCache(f"{self.commit_path(shard)} is the record of another shard: expected {listed}")
        for extent, least in (
            (commit.codes, geometry.image_bytes),
            (commit.scales, geometry.image_scale_bytes),
        ):
            if isinstance(extent, Strided) and extent.stride < least:
                raise CorruptCache(
                    f"{self.commit_path(shard)}: rows of {least} bytes cannot be {extent.stride} bytes apart"
                )

        compressor = geometry.compression
        if isinstance(commit.codes, Chunked) and compressor is not None:
            packed = min(commit.codes.table["bytes"].tolist())
            if compressor.most(packed) < geometry.image_bytes:
                raise CorruptCache(
                    f"{self.commit_path(shard)}: images of {geometry.image_bytes} bytes cannot be compressed "
                    f"to {packed}"
                )

    def _refuse_other_sizes(self, commit: Commit, listed: Mapping[str, int | None] | None) -> None:
        sizes = self.sizes(commit) if listed is None else listed
        for name, record in commit.files.items():
            found = sizes.get(name)
            if found != record.bytes:
                raise CorruptCache(
                    f"{self.folder / name}: expected {record.bytes} bytes, "
                    f"found {'no file' if found is None else found}"
                )
