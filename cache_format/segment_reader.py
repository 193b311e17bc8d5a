"""Reads rows of one segment with positioned reads into the caller's buffers."""

import os
import threading
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c
from jaxtyping import Bool, Int64, Shaped

from losa.cache_format.errors import CorruptCache, IncompleteCache
from losa.cache_format.keys import read_keys
from losa.cache_format.segment_files import SegmentFiles

MAX_OPEN_FILES = 256
"""Shard files one reader keeps open; a further one is opened for each read and closed again."""


class SegmentReader:
    """Positioned reads leave no shared file position, so threads and forked workers may read at once."""

    def __init__(
        self, files: SegmentFiles, rows: Int64[np.ndarray, "rows"], positions: Sequence[int]
    ) -> None:
        """Prepare to read.

        Args:
            files: of the segment.
            rows: those that will be asked for; their shards must be committed.
            positions: of the wanted sites on the stored site axis, rising.

        Raises:
            IncompleteCache: shards are not committed.
        """
        self.files = files
        shards = np.unique(rows // files.segment.rows_per_shard).tolist()
        self._checksums: dict[int, np.ndarray] = {}
        self._valid = np.ones(files.segment.images, bool)
        missing = []
        for shard in shards:
            try:
                commit = files.commit(shard)
            except FileNotFoundError:
                missing.append(shard)
                continue
            self._checksums[shard] = commit.checksums
            first = files.segment.rows(shard).start
            self._valid[[first + int(row) for row in commit.invalid]] = False
        if missing:
            raise IncompleteCache(
                f"{files.cache}: {len(missing)} of {len(shards)} shards of segment {files.segment.name!r} "
                f"are missing (the first is {missing[0]}): "
                "run the same losa-extract command again to finish it"
            )
        self._positions = list(positions)
        self._runs = _runs(self._positions)
        self._verified = np.zeros((files.segment.images, len(self._positions)), bool)
        self._descriptors: dict[Path, int] = {}
        self._lock = threading.Lock()

    @property
    def valid(self) -> Bool[np.ndarray, "images"]:
        """False where an image could not be read at extraction. True in shards that were not asked for."""
        return self._valid

    def read(
        self,
        row: int,
        values: Shaped[np.ndarray, "sites tokens width"],
        scales: Shaped[np.ndarray, "sites tokens"] | None,
    ) -> None:
        """Read one row into C-contiguous buffers.

        Raises:
            CorruptCache: a file is too short, or bytes do not fit their checksum on first touch.
        """
        files = self.files
        shard, slot = divmod(row, files.segment.rows_per_shard)
        base = slot * files.layout.stride
        self._fill(files.codes_path(shard), base, files.site_bytes, values)
        if scales is not None:
            base = slot * len(files.group.sites) * files.site_scale_bytes
            self._fill(files.scales_path(shard), base, files.site_scale_bytes, scales)
        if not self._verified[row].all():
            self._verify(row, shard, slot, values, scales)

    def _verify(self, row: int, shard: int, slot: int, values: np.ndarray, scales: np.ndarray | None) -> None:
        expected = self._checksums[shard][slot]
        for index, position in enumerate(self._positions):
            found = crc32c(values[index])
            if scales is not None:
                found = crc32c(scales[index], found)
            if found != expected[position]:
                segment = self.files.segment
                key = read_keys(self.files.folder, segment)[row]
                # The checksum is of codes and scales together: either file may be the damaged one.
                paths = " or ".join(str(path) for path in self.files.sizes(shard))
                raise CorruptCache(
                    f"{paths}: image {key!r} (row {row} of segment {segment.name!r}), "
                    f"site {self.files.group.sites[position]!r}: expected crc32c {expected[position]:08x}, "
                    f"found {found:08x}. Delete {self.files.commit_path(shard)} and run the same "
                    "losa-extract command again: it makes this shard anew"
                )
        self._verified[row] = True

    def _fill(self, path: Path, base: int, site_bytes: int, buffer: np.ndarray) -> None:
        descriptor = self._descriptors.get(path)
        passing = None
        if descriptor is None:
            descriptor, passing = self._open(path)
        try:
            for first, start, length in self._runs:
                view = buffer[first : first + length].data.cast("B")
                wanted, offset = len(view), base + start * site_bytes
                if os.preadv(descriptor, [view], offset) != wanted:
                    raise CorruptCache(f"{path}: cannot read {wanted} bytes at {offset}")
        finally:
            if passing is not None:
                os.close(passing)

    def _open(self, path: Path) -> tuple[int, int | None]:
        """A descriptor, and the same again if the caller is to close it."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CorruptCache(f"{path} has vanished since the cache was opened") from None
        with self._lock:
            if path not in self._descriptors and len(self._descriptors) < MAX_OPEN_FILES:
                self._descriptors[path] = descriptor
                return descriptor, None
        return descriptor, descriptor

    def __getstate__(self) -> dict[str, Any]:
        """For spawned workers: descriptors and locks stay behind."""
        return {**self.__dict__, "_descriptors": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)


def _runs(positions: list[int]) -> list[tuple[int, int, int]]:
    """Neighbouring positions joined: (index in the buffer, first position, length)."""
    runs = []
    for _, group in groupby(enumerate(positions), lambda pair: pair[1] - pair[0]):
        members = list(group)
        runs.append((members[0][0], members[0][1], len(members)))
    return runs
