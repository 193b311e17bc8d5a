"""A pool of Ray actors that work on items, and what happens if one of them is lost."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from losa.cache_format.engines.contract import Item, Task, Told
from losa.cache_format.engines.ray_cluster import Workers, import_ray
from losa.cache_format.engines.ray_worker import Answer, Ended, Message
from losa.cache_format.errors import LosaError

_log = logging.getLogger(__name__)

_MOST_TRIES = 3
"""Number of workers that may be lost with one item, and of workers that may fail to start."""
_PATIENCE = 60.0
"""Seconds without any worker after which that is told, or is an error if no machine has room for one."""
_LONGEST_WAIT = 5.0
_LONGEST_END = 40.0
"""Seconds that workers have to end, a little longer than `RayWorker.stop` takes."""


@dataclass(slots=True)
class _Work(Generic[Item]):
    """An item, or what is left of it."""

    number: int
    item: Item
    told: int = 0
    """Number of values that were told of what is left."""
    lost: int = 0
    """Number of workers that were lost with it."""


@dataclass(slots=True)
class _Worker(Generic[Item]):
    actor: Any
    host: str | None = None
    """Name of its machine, once it has begun."""
    work: _Work[Item] | None = None


class RayPool(Generic[Item]):
    """Has each item worked on. Every worker has one call under way, whose answer is waited for."""

    def __init__(
        self,
        make_actor: Callable[[], Any],
        spare: list[Any],
        chosen: Workers,
        task: Task[Item],
        items: Sequence[Item],
        told: Told,
    ) -> None:
        """Start nothing yet.

        Args:
            make_actor: makes a `RayWorker`.
            spare: those of earlier pools, which are taken first; gets those that are left in the end, because
                it takes seconds to start one.
            chosen: how many of them, and what each needs.
            task: the work, as the workers have it.
            items: what to work on.
            told: called with what tasks tell.
        """
        self._ray = import_ray()
        self._make_actor = make_actor
        self._spare = spare
        self._chosen = chosen
        self._task = task
        self._told = told
        self._waiting = deque(_Work(number, item) for number, item in enumerate(items))
        self._unfinished = len(items)
        self._shared = self._ray.put(task)  # once for all workers
        self._workers: list[_Worker[Item]] = []
        self._calls: dict[Any, _Worker[Item]] = {}
        """Reference of an answer -> the worker that is to give it. Those without work have no call."""
        self._failed_starts = 0
        self._shown: set[tuple[int, str]] = set()
        self._last_seen = time.monotonic()
        """When a worker was there last."""

    def run(self) -> None:
        """Return once all items are finished; see `Engine.map` for the errors."""
        try:
            for _ in range(min(self._chosen.count, self._unfinished)):
                self._start_worker()
            while self._unfinished:
                # The first of those that have an answer, and at its next call it goes behind the others.
                ready, _ = self._ray.wait(list(self._calls), timeout=_LONGEST_WAIT)
                for reference in ready:
                    self._take(reference, self._calls.pop(reference))
                self._look_for_workers()
        except BaseException:
            self._stop_tasks()
            raise
        finally:
            for worker in self._workers:
                if self._unfinished or worker.host is None:
                    self._ray.kill(worker.actor)
                else:
                    self._spare.append(worker.actor)

    def _start_worker(self) -> None:
        worker: _Worker[Item] = _Worker(self._spare.pop() if self._spare else self._make_actor())
        self._workers.append(worker)
        level = logging.getLogger("losa").getEffectiveLevel()
        self._calls[worker.actor.prepare.remote(self._shared, str(Path.cwd()), level)] = worker

    def _take(self, reference: Any, worker: _Worker[Item]) -> None:
        """Take an answer, and call the worker again."""
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(reference)
        except (errors.RayActorError, errors.ObjectLostError) as error:
            self._lose(worker, error)
            return
        except errors.RayTaskError as error:
            worker.work = None
            if isinstance(error.cause, LosaError | OSError):
                raise error.cause from None
            raise
        if worker.host is None:
            worker.host = answer
            self._failed_starts = 0
        elif worker.work is not None:
            self._listen(worker, worker.work, answer)
        if worker.work is None:
            self._give_work(worker)
        else:
            self._calls[worker.actor.next.remote()] = worker

    def _listen(self, worker: _Worker[Item], work: _Work[Item], answer: Answer) -> None:
        if isinstance(answer, Message):
            self._told(work.number, answer.value)
            work.told += 1
        elif isinstance(answer, logging.LogRecord):
            self._show(answer)
        elif isinstance(answer, Ended):
            worker.work = None
            self._unfinished -= 1

    def _give_work(self, worker: _Worker[Item]) -> None:
        if not self._waiting:
            return  # it stays, because another one may be lost
        worker.work = self._waiting.popleft()
        worker.actor.start.remote(worker.work.item)
        self._calls[worker.actor.next.remote()] = worker

    def _lose(self, worker: _Worker[Item], error: Exception) -> None:
        """Have what a lost worker has not told done by another, and replace the worker."""
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # it may only be out of reach
        reason = _reason(error)
        if worker.host is None:
            self._failed_starts += 1
            if self._failed_starts < _MOST_TRIES:
                self._start_worker()
            elif not self._workers:
                raise LosaError(
                    f"no worker of the Ray cluster could be started: {reason}\nThe same Python and the same "
                    "losa have to be installed on every machine"
                ) from error
            return
        work = worker.work
        if work is not None:
            work.lost += 1
            if work.lost == _MOST_TRIES:
                raise LosaError(
                    f"{_MOST_TRIES} workers were lost with the same work, the last one on {worker.host}: "
                    f"{reason}\nWhat is finished is kept. If memory was short there, let each worker have "
                    "more of a machine (engine.cpus=...), or use a smaller batch_size"
                ) from error
            work.item, work.told = self._task.rest(work.item, work.told), 0
            self._waiting.appendleft(work)
            _log.warning("the worker on %s was lost: %s. Another one does the rest", worker.host, reason)
        self._start_worker()
        idle = [other for other in self._workers if other.host is not None and other.work is None]
        if idle:
            self._give_work(idle[0])

    def _look_for_workers(self) -> None:
        """Say that there is no worker, or that there can be none.

        Raises:
            LosaError: no machine has room for one, and did not have for a while.
        """
        now = time.monotonic()
        if any(worker.host is not None for worker in self._workers):
            self._last_seen = now
        if now - self._last_seen < _PATIENCE:
            return
        self._last_seen = now
        needs = {"CPU": self._chosen.cpus, "GPU": self._chosen.gpus}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= need for name, need in needs.items()) for node in nodes):
            raise LosaError(
                "the Ray cluster has no machine left that a worker fits on. What is finished is kept: add "
                "machines, and run the same command again"
            )
        _log.warning("waiting for the Ray cluster to start a worker: others may have all of its machines")

    def _show(self, record: logging.LogRecord) -> None:
        """Log what a worker has logged; what several of them say is logged once."""
        said = record.levelno, record.getMessage()
        if said not in self._shown:
            self._shown.add(said)
            logging.getLogger(record.name).handle(record)

    def _stop_tasks(self) -> None:
        """Have tasks save what is to be kept."""
        stopping = [worker.actor.stop.remote() for worker in self._workers if worker.work is not None]
        if stopping:
            self._ray.wait(stopping, num_returns=len(stopping), timeout=_LONGEST_END)


def _reason(error: Exception) -> str:
    """Why a worker was lost, in a few words of Ray's message."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "because" in line or "Error: " in line), lines[0])
