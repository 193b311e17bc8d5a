"""How a command ends that is interrupted, or whose output nobody reads any more."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended."""


@contextmanager
def ending(advice: str = "") -> Iterator[None]:
    """A context for a whole command, in which Ctrl-C, SIGTERM and a closed pipe end it without a traceback.

    The exit code is that of a shell: 128 plus the number of the signal.

    Args:
        advice: what to do after an interruption.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    after = f": {advice}" if advice else ""
    try:
        try:
            yield
        finally:
            print(end="", flush=True)  # the interpreter's own flush, at its end, cannot be caught
    except KeyboardInterrupt:
        print(f"interrupted{after}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        if end.code == TERMINATED:
            print(f"terminated{after}", file=sys.stderr)
        raise
    except BrokenPipeError:
        # What is still buffered goes nowhere, or it would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- given by Python
    sys.exit(TERMINATED)  # an exception, so that work is saved and workers are ended on the way out
