"""Signals that end a command, and moments in which they have to wait."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_waiting: list[tuple[int, FrameType | None]] | None = None
"""Signals that came inside of `uninterrupted`; None outside of it."""


def deferrable(end: Callable[[int, FrameType | None], None]) -> Callable[[int, FrameType | None], None]:
    """A signal handler that calls another one: at once, or at the end of `uninterrupted`.

    Args:
        end: the other handler, which raises an exception that ends the command.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _waiting is None:
            end(number, frame)
        else:
            _waiting.append((number, frame))

    return handle


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A context in which signals whose handlers are `deferrable` wait, so that nothing is left half done.

    Handlers run in the main thread, so in other threads there is nothing to wait for.
    """
    global _waiting
    if _waiting is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _waiting = []
    try:
        yield
    finally:
        came, _waiting = _waiting, None
        if came:
            number, frame = came[0]
            handler = signal.getsignal(number)
            if callable(handler):
                handler(number, frame)
