"""Threads that share the work of one call."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

Part = TypeVar("Part")


class WorkThreads:
    """A pool of threads that is started on first use, and again in a forked or spawned child."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def cut(self, positions: np.ndarray) -> list[np.ndarray]:
        """Divide positions into at most one part per thread; no part is empty."""
        parts = np.array_split(positions, max(1, min(self.count, len(positions))))
        return [part for part in parts if len(part)]

    def map(self, work: Callable[[Part], None], jobs: Sequence[Part]) -> None:
        """Call ``work`` for all jobs. If calls fail, the first error is raised after all calls have ended."""
        if self.count == 1 or len(jobs) < 2:
            _run(map(work, jobs))
            return
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="losa-work")
            self._process = os.getpid()
        # The caller's thread works too, so that one pool thread less has to be woken.
        futures = [self._pool.submit(work, job) for job in jobs[1:]]
        try:
            work(jobs[0])
        finally:
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error

    def __reduce__(self) -> Any:
        """Pickle without the threads."""
        return (WorkThreads, (self.count,))


def _run(results: Iterable[None]) -> None:
    for _ in results:
        pass
