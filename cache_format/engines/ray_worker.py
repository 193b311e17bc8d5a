"""What runs in each process of a Ray cluster that works for a command."""

import contextlib
import logging
import os
import queue
import socket
import threading
from dataclasses import dataclass
from logging.handlers import QueueHandler
from typing import Any

from losa.cache_format.engines.contract import Stopped, Task

_AHEAD = 1
"""Number of values that may wait to be fetched. The values of an extraction are whole shards."""
_LONGEST_ANSWER = 1.0
"""Seconds after which `RayWorker.next` answers that there is nothing, so that other calls get a turn."""
_LONGEST_END = 30.0
"""Seconds that a task has to save what is to be kept."""


@dataclass(frozen=True, slots=True)
class Message:
    """A value that a task told."""

    value: Any


class Ended:
    """There will be no further message of this item."""


Answer = Message | logging.LogRecord | Ended | None
"""None: nothing yet."""


class RayWorker:
    """Runs a task in a thread, one item at a time. Its methods are called from another machine."""

    def __init__(self) -> None:
        """Begin to pass on what losa logs."""
        self._task: Task[Any] | None = None
        self._messages: queue.Queue[Any] = queue.Queue(_AHEAD)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopping = False
        logging.getLogger("losa").addHandler(_Relay(self))

    def prepare(self, task: Task[Any], folder: str, level: int) -> str:
        """Take a task, instead of the one before.

        Args:
            task: the work.
            folder: working directory of the command, to which relative paths refer. On a machine that does
                not have it there are none.
            level: level from which records are passed on.

        Returns:
            The name of this machine.
        """
        with contextlib.suppress(OSError):
            os.chdir(folder)
        self._task = task
        logging.getLogger("losa").setLevel(level)
        return socket.gethostname()

    def start(self, item: Any) -> None:
        """Start the work on an item; the last one has ended."""
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(item,), daemon=True)
        self._thread.start()

    def next(self) -> Answer:
        """The next message of the item; waits for it a little.

        Raises:
            BaseException: what the task raised.
        """
        try:
            answer: Answer = self._messages.get(timeout=_LONGEST_ANSWER)
        except queue.Empty:
            return None
        if isinstance(answer, Ended) and self._error is not None:
            raise self._error
        return answer

    def stop(self) -> None:
        """End the task as soon as it tells anything, and wait for what it saves then."""
        self._stopping = True
        if self._thread is not None:
            self._thread.join(_LONGEST_END)

    def put(self, message: Any) -> None:
        """Have a message fetched; waits while others do.

        Raises:
            Stopped: the command ends.
        """
        while not self._stopping:
            with contextlib.suppress(queue.Full):
                self._messages.put(message, timeout=_LONGEST_ANSWER)
                return
        raise Stopped

    def log(self, record: logging.LogRecord) -> None:
        """Pass on a record, unless nobody listens."""
        if self._thread is not None and self._thread.is_alive():
            with contextlib.suppress(Stopped):
                self.put(record)

    def _run(self, item: Any) -> None:
        assert self._task is not None, "prepare comes first"
        try:
            self._task(item, lambda value: self.put(Message(value)))
        except BaseException as error:
            self._error = error
        with contextlib.suppress(Stopped):
            self.put(Ended())


class _Relay(QueueHandler):
    """Passes on records whose texts are complete, because their arguments might not be known elsewhere."""

    def __init__(self, worker: RayWorker) -> None:
        super().__init__(queue.Queue())
        self._worker = worker

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a record to the worker instead of a queue."""
        self._worker.log(record)
