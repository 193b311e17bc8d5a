"""Progress bars for people at a terminal, a line now and then for log files."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0

# No monitor thread: decode workers are forked while bars are shown, and threads do not survive a fork.
tqdm.monitor_interval = 0


def progress_bar(total: int, description: str, unit: str, *, leave: bool = True) -> "tqdm[Any]":
    """A tqdm bar; where stderr is no terminal, it speaks once a minute."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=description, unit=unit, leave=leave)
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        leave=leave,
        mininterval=SECONDS_BETWEEN_LINES,
        maxinterval=SECONDS_BETWEEN_LINES,
        miniters=1,
    )
