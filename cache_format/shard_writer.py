"""Writes one shard, batch after batch, and publishes it whole."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from crc32c import crc32c

from losa.cache_format.codecs import Codes
from losa.cache_format.commit import SOURCE_HASH_BYTES, Commit
from losa.cache_format.errors import CacheError
from losa.cache_format.publish import publish, publishing
from losa.cache_format.segment_files import SCALE_DTYPE, SegmentFiles
from losa.cache_format.statistics import NO_VALUES, SiteStatistics
from losa.cache_format.zarr_layout import checksum


class ShardWriter:
    """Takes the rows of one shard in order. Holds no more than a batch, the scales and the checksums."""

    def __init__(self, file: BinaryIO, files: SegmentFiles, shard: int) -> None:
        self._file = file
        self._files = files
        self._shard = shard
        self._expected = len(files.segment.rows(shard))
        self._checksums: list[int] = []
        self._scales: list[np.ndarray] = []
        self._sources: list[bytes] = []
        self._invalid: dict[str, str] = {}
        self._statistics: list[SiteStatistics] = []

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return len(self._sources)

    def append(
        self, codes: Codes, outcomes: Sequence[bytes | str], statistics: Sequence[SiteStatistics]
    ) -> None:
        """Append rows.

        Args:
            codes: of the readable images among them.
            outcomes: of every row: the hash of the image's bytes, or why it could not be read.
            statistics: of each site over the readable images.
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
        if self._statistics and statistics:
            self._statistics = [a + b for a, b in zip(self._statistics, statistics, strict=True)]
        else:
            self._statistics = list(statistics) or self._statistics

    def finish(self) -> None:
        """Write the shard index; the caller publishes file, scales and commit record in this order."""
        assert self.rows == self._expected, f"shard {self._shard}: {self.rows} of {self._expected} rows"
        self._file.write(self._files.layout.index(self.rows))

    def publish_scales(self) -> None:
        """Publish the scales, padded to a full shard as zarr wants it."""
        if self._files.scaled:
            _, sites, tokens, _ = self._files.shape
            padded = np.zeros((self._files.segment.rows_per_shard, sites, tokens), SCALE_DTYPE)
            padded[: self.rows] = self._scales
            data = padded.tobytes()
            publish(self._files.scales_path(self._shard), data + checksum(data))

    def publish_commit(self) -> None:
        """Publish the record that makes the shard count."""
        files = self._files
        Commit(
            features_sha256=files.features_sha256,
            segment=files.segment.name,
            segment_keys_sha256=files.segment.keys_sha256,
            shard=self._shard,
            sizes=files.recorded_sizes(self._shard),
            rows=self.rows,
            crc32c=np.array(self._checksums, "<u4").tobytes().hex(),
            sources=b"".join(self._sources).hex(),
            invalid=self._invalid,
            statistics=tuple(self._statistics) or (NO_VALUES,) * len(files.group.sites),
        ).write(files.commit_path(self._shard))

    def _write_row(self, values: np.ndarray | None, scales: np.ndarray | None) -> None:
        _, sites, tokens, width = self._files.shape
        if values is None:
            values = np.zeros((sites, tokens, width), self._files.storage)
        if scales is None and self._files.scaled:
            scales = np.zeros((sites, tokens), SCALE_DTYPE)
        elif scales is not None:
            # A copy, because scales wait for the end of the shard and the caller may use its buffers again.
            scales = np.array(scales, SCALE_DTYPE, order="C")
        expected = ((sites, tokens, width), np.dtype(self._files.storage))
        assert (values.shape, values.dtype) == expected, f"{values.dtype}{values.shape}, not {expected}"
        values = np.ascontiguousarray(values)
        for site in range(sites):
            crc = crc32c(values[site])
            self._checksums.append(crc if scales is None else crc32c(scales[site], crc))
        if scales is not None:
            self._scales.append(scales)
        self._file.write(values.data)
        self._file.write(checksum(values))


@contextmanager
def writing_shard(files: SegmentFiles, shard: int) -> Iterator[ShardWriter]:
    """Write a shard; it counts once the block has ended without an error.

    Raises:
        CacheError: the disk is full. What is committed stays, and the same command resumes.
    """
    try:
        with publishing(files.codes_path(shard)) as file:
            writer = ShardWriter(file, files, shard)
            yield writer
            writer.finish()
            # Only now, when the shard is whole: a shard that is made again keeps its record until then.
            files.commit_path(shard).unlink(missing_ok=True)
        writer.publish_scales()
        writer.publish_commit()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CacheError(
            f"no space left for shard {shard} of {files.folder} "
            f"({files.layout.file_bytes(len(files.segment.rows(shard))):,} bytes): free some and run the "
            "same command again; it resumes after the shards that are committed"
        ) from error
