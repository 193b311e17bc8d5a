"""The processes that decode images: waits for their batches, and tells what became of them if none comes."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from losa.cache_format.errors import LosaError
from losa.extract.shared_memory import SHARED_MEMORY

_log = logging.getLogger(__name__)

SECONDS_BETWEEN_CHECKS = 60
"""Seconds without a batch after which the processes are looked at."""
CHECKS_BEFORE_GIVING_UP = 10
"""Checks in a row at which no process has computed or read anything, before an error ends the waiting."""

_RESUME = "What is finished is kept: the same command goes on there"


class DecodedBatch(NamedTuple):
    """Network inputs of the valid images of a batch, and the outcome for every image."""

    images: Float[Tensor, "images *frames channels height columns"]
    outcomes: list[bytes | str]
    """For each image of the batch, the hash of its bytes or, if it is invalid, the reason."""
    turned: int = 0
    """Number of images whose EXIF data have an orientation other than upright, applied or not."""
    warnings: tuple[str, ...] = ()
    """Warnings of the decoders; each one names its image."""


class DecodedBatches:
    """Iterator over decoded batches, in order. Closing it ends the workers, and so does its end or an error.

    As a context manager it is closed on leaving, and tells of a dead worker in its own words, wherever torch
    interrupted the main process with that news.

    Not a generator: from Python 3.12 on, closing one before its first batch does not run its ``finally``
    and keeps what it holds, the workers among it.

    Raises:
        LosaError: an image cannot be read at the moment; or a worker has died, cannot hand over its images,
            or has done nothing for ten minutes.
    """

    def __init__(self, loaded: Iterator[DecodedBatch | LosaError]) -> None:
        self._loaded = loaded
        self._workers: Sequence[BaseProcess] = getattr(loaded, "_workers", ())

    @property
    def processes(self) -> int:
        """Number of processes; 0: the main process decodes."""
        return len(self._workers)

    def __enter__(self) -> "DecodedBatches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._failure() if isinstance(error, RuntimeError | OSError) else None
        self.close()
        if failure is not None:
            raise failure from error

    def __iter__(self) -> "DecodedBatches":
        return self

    def __next__(self) -> DecodedBatch:
        try:
            batch = self._next()
            if isinstance(batch, LosaError):
                raise batch
        except BaseException:
            self.close()
            raise
        return batch

    def close(self) -> None:
        """End the workers; no further batch comes."""
        # torch ends them once nothing refers to its iterator, but the traceback of an error does.
        if (end_workers := getattr(self._loaded, "_shutdown_workers", None)) is not None:
            end_workers()
        for worker in self._workers:
            worker.kill()  # one that waits for a file does not end when it is told to
        self._workers = ()
        self._loaded = iter(())

    def _next(self) -> DecodedBatch | LosaError:
        idle, before = 0, None
        while True:
            try:
                return next(self._loaded)
            except (RuntimeError, OSError) as error:
                if (failure := self._failure()) is not None:
                    raise failure from error
                if self._workers and isinstance(error, OSError) and error.errno is not None:
                    raise no_room(error.strerror) from error
                if str(error).startswith("Too many open files"):
                    raise no_room("too many open files (see ulimit -n)") from error
                if not str(error).startswith("DataLoader timed out"):
                    raise
            self._refuse_without_pinning()
            done = _work_done(self._workers)
            idle = idle + 1 if done == before else 0
            before = done
            if idle >= CHECKS_BEFORE_GIVING_UP:
                raise LosaError(
                    f"no image has come for {_minutes(idle)}, and the decoding processes have read and "
                    "computed nothing: the storage of the images does not answer. Make sure that it can be "
                    f"read, and run the same command again. {_RESUME}"
                )
            _log.warning(
                "no batch of images has come for a minute: the decoding processes %s",
                "wait for the storage" if idle else "are still at work",
            )

    def _failure(self) -> LosaError | None:
        """What to tell of a worker that has died; None if none has."""
        for worker in self._workers:
            if not worker.is_alive() and worker.exitcode:
                return _told(worker.exitcode)
        return None

    def _refuse_without_pinning(self) -> None:
        """Refuse to wait for the thread that pins memory, if it has died."""
        thread = getattr(self._loaded, "_pin_memory_thread", None)
        if thread is not None and not thread.is_alive():
            raise LosaError(
                "decoded images could not be copied to pinned memory: free some memory, or choose a smaller "
                f"batch_size. {_RESUME}"
            )


def prepare_worker(worker: int) -> None:  # noqa: ARG001 -- given by torch
    """Set up a process that decodes, at its start."""
    # Job schedulers send SIGTERM to all processes, and torch would report a killed worker.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Without this, a batch that cannot be sent is lost, and the main process would wait for it for ever.
    Queue._on_queue_feeder_error = staticmethod(_exit_with_cause)  # type: ignore[attr-defined]


def no_room(reason: str | None) -> LosaError:
    """The error for images that a process cannot hand over."""
    return LosaError(
        f"a decoding process could not hand over its images: {reason or 'unknown reason'}. They go through "
        f"shared memory ({SHARED_MEMORY}) and the folder of temporary files (TMPDIR): make room there, "
        f"use fewer processes (workers=1), or decode in the main process (workers=0). {_RESUME}"
    )


def _exit_with_cause(error: BaseException, batch: Any) -> None:  # noqa: ARG001 -- given by multiprocessing
    os._exit(getattr(error, "errno", None) or 1)


def _told(exitcode: int) -> LosaError:
    """The error for a worker that ended with an exit code: a negated signal, or the number of an OSError."""
    if exitcode == -signal.SIGBUS:
        return no_room("shared memory is full")
    if exitcode > 0:
        return no_room(os.strerror(exitcode))
    return LosaError(
        f"a decoding process was killed ({signal.Signals(-exitcode).name}), most likely because memory is "
        "short: use fewer processes (workers=1), a smaller batch_size, or a machine with more memory. Large "
        f"images need the most; max_pixels=... refuses them. {_RESUME}"
    )


def _work_done(workers: Sequence[BaseProcess]) -> list[str] | None:
    """What the processes have computed and read so far; None where the kernel does not tell."""
    done = []
    for worker in workers:
        folder = Path(f"/proc/{worker.pid}")
        try:
            times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
            read = (folder / "io").read_text().split("\n", 1)[0]
        except OSError:
            return None
        done += [*times, read]
    return done


def _minutes(checks: int) -> str:
    return f"{checks * SECONDS_BETWEEN_CHECKS / 60:.0f} minutes"
