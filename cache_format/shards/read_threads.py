"""A few threads that share the work of one read."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

MOST_THREADS = 4
"""More do not read faster from memory; a device that needs more requests at once has its own queue."""

Work = TypeVar("Work")


def default_threads() -> int:
    """As many as this process may use cores, to a limit."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


class ReadThreads:
    """Threads that start with the first work, and start anew in a forked or spawned child."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def cut(self, positions: np.ndarray) -> list[np.ndarray]:
        """Cut positions into a run for each thread; none is empty."""
        parts = np.array_split(positions, max(1, min(self.count, len(positions))))
        return [part for part in parts if len(part)]

    def map(self, work: Callable[[Work], None], jobs: Sequence[Work]) -> None:
        """Do all jobs; the first error is raised when all are done."""
        if self.count == 1 or len(jobs) < 2:
            _run(map(work, jobs))
            return
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="losa-ranges")
            self._process = os.getpid()
        # The caller's own thread works too: one pool thread less to wake.
        futures = [self._pool.submit(work, job) for job in jobs[1:]]
        try:
            work(jobs[0])
        finally:
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error

    def __reduce__(self) -> Any:
        """Threads stay behind."""
        return (ReadThreads, (self.count,))


def _run(results: Iterable[None]) -> None:
    for _ in results:
        pass
