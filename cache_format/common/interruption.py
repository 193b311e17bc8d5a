"""Moments in which the signals that end a command have to wait."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A context in which SIGINT and SIGTERM wait, so that nothing is left half done.

    Only signals wait that a Python function handles, as by default that of SIGINT. Handlers run in the main
    thread, so in other threads there is nothing to wait for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append((number, frame))

    handlers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            first, frame = waiting[0]
            handlers[signal.Signals(first)](first, frame)
