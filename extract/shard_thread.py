"""Writes shards in a separate thread, so that the backbone does not wait for the disk."""

import queue
import threading
from types import TracebackType

from losa.cache_format import CacheWriter
from losa.extract.encoded_batches import EncodedBatch

_AHEAD = 2
"""Number of encoded batches that may wait for the disk."""


class ShardThread:
    """A thread that appends batches, in shard order, and commits a shard with its last row.

    Use it as a context manager: leaving it waits for the thread, which starts with the first `put`. An error
    in the thread is raised by the next `put`, or on leaving.
    """

    def __init__(self, writer: CacheWriter) -> None:
        self._writer = writer
        self._queue: queue.Queue[EncodedBatch | None] = queue.Queue(maxsize=_AHEAD)
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="losa-shards", daemon=True)

    def __enter__(self) -> "ShardThread":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.ident is None:
            return
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def put(self, batch: EncodedBatch) -> None:
        """Queue a batch; blocks while the queue is full."""
        if self._error is not None:
            raise self._error
        if self._thread.ident is None:
            self._thread.start()  # not before, because the processes that decode are forked without threads
        self._queue.put(batch)

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._write_shard(batch)
        except _AbortedShard:
            return
        except BaseException as error:
            self._error = error
            # The end marker may have been read already: aborting a shard flushes it, which can fail too.
            while not self._ended:
                self._next()

    def _next(self) -> EncodedBatch | None:
        batch = self._queue.get()
        self._ended = batch is None
        return batch

    def _write_shard(self, first: EncodedBatch) -> None:
        segment, number = first.rows.segment, first.rows.shard
        rows = len(segment.rows(number))
        with self._writer.shard(segment, number) as shard:
            batch: EncodedBatch | None = first
            while batch is not None:
                shard.append(batch.codes, batch.outcomes, batch.statistics)
                if shard.rows == rows:
                    return
                batch = self._next()
            raise _AbortedShard


class _AbortedShard(Exception):  # noqa: N818
    """The extraction stopped within a shard, whose files have to be removed."""
