"""Reads byte ranges of many files into the caller's buffers, by positioned reads or by remote requests."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import fsspec
import numpy as np
from upath import UPath

from losa.cache_format.errors import CacheError, CorruptCache
from losa.cache_format.storage.paths import CachePath, cannot_read


class Range(NamedTuple):
    """A byte range of a file and the buffer to fill with it."""

    path: CachePath
    offset: int
    buffer: np.ndarray
    """C-contiguous buffer, whose size is the number of bytes to read."""


@runtime_checkable  # so that beartype can check it while the tests run
class ByteRanges(Protocol):
    """Reads byte ranges. Safe to use in threads and forked children, and to pickle for spawned ones."""

    together: bool
    """Whether many ranges in one call are faster than one call for each."""

    def fill(self, ranges: Sequence[Range]) -> None:
        """Fill the buffers of all ranges.

        Raises:
            CorruptCache: a file is missing or too short.
            CacheError: a file cannot be read for another reason than damage.
        """


def open_ranges(cache: CachePath) -> ByteRanges:
    """The reader of byte ranges for a local or remote cache."""
    return LocalRanges() if isinstance(cache, Path) else RemoteRanges(cache)


class LocalRanges:
    """Reads local files. Positioned reads share no file position between threads and forked workers."""

    together = False

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(16, min(1024, soft // 8))
        self._descriptors: dict[Path, int] = {}

    def fill(self, ranges: Sequence[Range]) -> None:
        """Fill the buffers of all ranges, one after another."""
        for path, offset, buffer in ranges:
            assert isinstance(path, Path), "ranges of this machine's files"
            descriptor = self._descriptors.get(path)
            passing = None
            if descriptor is None:
                descriptor, passing = self._open(path)
            try:
                done = os.preadv(descriptor, [buffer.data], offset)
                if done != buffer.nbytes:
                    _read_rest(descriptor, path, offset, buffer, done)
            except OSError as error:
                raise cannot_read(path, error) from error
            finally:
                if passing is not None:
                    os.close(passing)

    def _open(self, path: Path) -> tuple[int, int | None]:
        """A descriptor, and the same descriptor again if the caller has to close it."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CorruptCache(f"{path} has vanished since the cache was opened") from None
        except OSError as error:
            raise cannot_read(path, error) from error
        # Without a lock, which a forked child could inherit locked: setdefault is atomic.
        if (
            len(self._descriptors) < self._most
            and self._descriptors.setdefault(path, descriptor) == descriptor
        ):
            return descriptor, None
        return descriptor, descriptor

    def __reduce__(self) -> Any:
        """Pickle without descriptors, for spawned workers."""
        return (LocalRanges, ())

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)


def _read_rest(descriptor: int, path: Path, offset: int, buffer: np.ndarray, done: int) -> None:
    """Continue after ``done`` bytes: Linux reads at most 2 GiB at once."""
    view = buffer.reshape(-1).view(np.uint8).data
    while done < len(view):
        more = os.preadv(descriptor, [view[done:]], offset + done)
        if not more:
            raise CorruptCache(f"{path}: cannot read {len(view)} bytes at {offset}")
        done += more


class RemoteRanges:
    """Reads ranges through fsspec. Asynchronous file systems fetch the ranges of one call concurrently."""

    together = True

    def __init__(self, cache: UPath) -> None:
        self._protocol = cache.protocol
        self._options = dict(cache.storage_options)

    def fill(self, ranges: Sequence[Range]) -> None:
        """Fill the buffers of all ranges in one request."""
        # Looked up every time: a forked child cannot use the instance of its parent, and fsspec caches
        # instances by process.
        files: Any = fsspec.filesystem(self._protocol, **self._options)
        starts = [wanted.offset for wanted in ranges]
        ends = [wanted.offset + wanted.buffer.nbytes for wanted in ranges]
        names = [wanted.path.path for wanted in ranges]  # type: ignore[union-attr]  # of a UPath
        try:
            found = files.cat_ranges(names, starts, ends, on_error="return")
        except OSError as error:
            raise CacheError(f"{ranges[0].path}: {error}") from error
        for wanted, data in zip(ranges, found, strict=True):
            if isinstance(data, FileNotFoundError):
                raise CorruptCache(f"{wanted.path} has vanished since the cache was opened")
            if isinstance(data, Exception):
                raise CacheError(f"{wanted.path}: {type(data).__name__}: {data}") from data
            if len(data) != wanted.buffer.nbytes:
                raise CorruptCache(
                    f"{wanted.path}: cannot read {wanted.buffer.nbytes} bytes at {wanted.offset}"
                )
            wanted.buffer.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)
