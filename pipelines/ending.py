"""How a command ends that is interrupted, or whose output nobody reads any more."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended."""


@contextmanager
def ending(advice: str = "") -> Iterator[None]:
    """A context for a whole command, in which Ctrl-C, SIGTERM and a closed pipe end it without a traceback.

    The exit code is that of a shell: 128 plus the number of the signal. Signals wait for the end of
    `uninterrupted`.

    Args:
        advice: what to do after an interruption.
    """
    after = f": {advice}" if advice else ""
    with _handled_signals():
        try:
            try:
                yield
            finally:
                _flush()  # the interpreter's own flush, at its end, cannot be caught
        except KeyboardInterrupt:
            print(f"interrupted{after}", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except SystemExit as end:
            if end.code == TERMINATED:
                print(f"terminated{after}", file=sys.stderr)
            raise
        except BrokenPipeError:
            discard_output()
            sys.exit(128 + signal.SIGPIPE)
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            _end_without_output(error)


def _flush() -> None:
    """Write what is buffered to standard output. Where that cannot be, the command ends with a message."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _end_without_output(error)


def _end_without_output(error: OSError) -> NoReturn:
    """End a command that could not write to standard output. A failed write names no file."""
    discard_output()
    print(f"error: standard output: {error.strerror or error}", file=sys.stderr)
    sys.exit(1)


def discard_output() -> None:
    """Have what is still buffered go nowhere: it would fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _handled_signals() -> Iterator[None]:
    """A context in which signals raise exceptions: on the way out work is saved and workers are ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may choose handlers, and only there do they run
        return
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    # A command in the background of a shell ignores Ctrl-C, which is meant for another one.
    chosen = {number: end for number, end in handlers.items() if signal.getsignal(number) != signal.SIG_IGN}
    before = {number: signal.signal(number, end) for number, end in chosen.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- given by Python
    sys.exit(TERMINATED)
