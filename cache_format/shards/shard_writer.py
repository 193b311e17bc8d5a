"""Writes one shard in batches, and publishes it as a whole."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

from losa.cache_format.codecs import Codes
from losa.cache_format.errors import CacheError
from losa.cache_format.shards.checksums import site_checksum
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES
from losa.cache_format.shards.statistics import NO_VALUES, SiteStatistics, total_statistics
from losa.cache_format.storage.atomic_writes import publish, publishing, remove
from losa.cache_format.storage.file_record import FileRecord, record_of


class ShardWriter:
    """Writes the rows of one shard in order. Only a batch, the scales and the checksums are in memory."""

    def __init__(self, file: BinaryIO, files: SegmentFiles, shard: int) -> None:
        self._file = _Checksummed(file)
        self._files = files
        self._shard = shard
        self._stream = files.store.stream(self._file, files.geometry, shard)
        self._expected = len(files.segment.rows(shard))
        self._checksums: list[int] = []
        self._scales: list[np.ndarray] = []
        self._sources: list[bytes] = []
        self._invalid: dict[str, str] = {}
        self._statistics = [NO_VALUES] * len(files.sites)

    @property
    def rows(self) -> int:
        """Number of rows appended so far."""
        return len(self._sources)

    @property
    def statistics(self) -> tuple[SiteStatistics, ...]:
        """Statistics of each site over the valid rows appended so far."""
        return tuple(self._statistics)

    def append(
        self, codes: Codes, outcomes: Sequence[bytes | str], statistics: Sequence[SiteStatistics]
    ) -> None:
        """Append rows.

        Args:
            codes: codes of the valid images among the rows.
            outcomes: for every row the source hash of its image, or why the image could not be decoded.
            statistics: statistics of each site over the valid images.
        """
        position = 0
        for outcome in outcomes:
            if isinstance(outcome, str):
                self._invalid[str(self.rows)] = outcome
                self._write_row(None, None)
                self._sources.append(bytes(SOURCE_HASH_BYTES))
            else:
                scales = None if codes.scales is None else codes.scales[position]
                self._write_row(codes.values[position], scales)
                self._sources.append(outcome)
                position += 1
        assert position == len(codes.values), "codes and outcomes differ in number"
        if statistics:
            self._statistics = total_statistics([self._statistics, statistics], len(self._statistics))

    def finish(self) -> tuple[Commit, dict[str, bytes]]:
        """Write the rest of the main file after the rows.

        Returns:
            The commit record, and the other files of the shard. The caller publishes the main file, the other
            files and the record, in this order.
        """
        assert self.rows == self._expected, f"shard {self._shard}: {self.rows} of {self._expected} rows"
        files = self._files
        scales = np.stack(self._scales) if files.geometry.site_scale_bytes else None
        finished = self._stream.finish(scales)
        commit = Commit(
            features_sha256=files.features_sha256,
            segment=files.segment.name,
            segment_keys_sha256=files.segment.keys_sha256,
            shard=self._shard,
            rows=self.rows,
            files={
                finished.codes.file: self._file.record,
                **{name: record_of(content) for name, content in finished.others.items()},
            },
            codes=finished.codes,
            scales=finished.scales,
            site_crc32c=np.array(self._checksums, "<u4").tobytes().hex(),
            source_blake2b=b"".join(self._sources).hex(),
            invalid=self._invalid,
            statistics=self.statistics,
        )
        return commit, finished.others

    def _write_row(self, values: np.ndarray | None, scales: np.ndarray | None) -> None:
        geometry = self._files.geometry
        layout = geometry.layout
        if values is None:
            values = np.zeros(geometry.codes_shape[1:], layout.dtype)
        if scales is None and layout.scale_dtype is not None:
            scales = np.zeros(geometry.scales_shape[1:], layout.scale_dtype)
        elif scales is not None:
            # A copy, because scales are written at the end of the shard and the caller may reuse its buffers.
            scales = np.array(scales, layout.scale_dtype, order="C")
        expected = (geometry.codes_shape[1:], np.dtype(layout.dtype))
        assert (values.shape, values.dtype) == expected, f"{values.dtype}{values.shape}, not {expected}"
        values = np.ascontiguousarray(values)
        for site in range(geometry.sites):
            self._checksums.append(site_checksum(values[site], None if scales is None else scales[site]))
        if scales is not None:
            self._scales.append(scales)
        self._stream.append(values)


@contextmanager
def writing_shard(
    files: SegmentFiles, shard: int, still_ours: Callable[[], None] = lambda: None
) -> Iterator[ShardWriter]:
    """Write a shard, which is committed if the block ends without an error.

    Args:
        files: files of the segment.
        shard: number of the shard.
        still_ours: called before anything is published; raises if another writer has taken over.

    Raises:
        CacheError: the disk is full. Committed shards are kept.
    """

    def make_room() -> None:
        still_ours()
        # Only now, when the new shard is whole on the disk: until then a remade shard keeps its old record.
        remove(files.commit_path(shard))

    with on_full_disk(files, shard):
        with publishing(files.shard_paths(shard)[0], make_room) as file:
            writer = ShardWriter(file, files, shard)
            yield writer
            commit, others = writer.finish()
        for name, content in others.items():
            publish(files.folder / name, content)
        still_ours()
        commit.write(files.commit_path(shard))


@contextmanager
def on_full_disk(files: SegmentFiles, shard: int) -> Iterator[None]:
    """Turn the error of a full disk into one that says what to do.

    Raises:
        CacheError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CacheError(
            f"no space left for shard {shard} of {files.folder} "
            f"({files.store.shard_bytes(files.geometry, shard):,} bytes): free some and run the "
            "same command again; it resumes after the shards that are committed"
        ) from error


class _Checksummed:
    """Writes bytes to a file and records their size and checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bytes = 0
        self._crc = 0

    def write(self, data: Any) -> int:
        """Write a buffer."""
        view = memoryview(data)
        self._crc = crc32(view, self._crc)
        self._bytes += view.nbytes
        return self._file.write(view)

    @property
    def record(self) -> FileRecord:
        """The record of everything written so far."""
        return FileRecord(bytes=self._bytes, crc32=f"{self._crc:08x}")
