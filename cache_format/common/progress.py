"""Progress bars for people at a terminal, a line now and then for log files."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0

# No monitor thread: decode workers are forked while bars are shown, and threads do not survive a fork.
tqdm.monitor_interval = 0


def progress_bar(
    total: int, description: str, unit: str, *, leave: bool = True, unit_scale: bool = False
) -> "tqdm[Any]":
    """A tqdm bar; where stderr is no terminal, it speaks once a minute.

    Args:
        total: units in all.
        description: what is going on.
        unit: what is counted.
        leave: whether the bar stays when it has ended.
        unit_scale: whether numbers are written with k, M and G.
    """
    if sys.stderr.isatty():
        return tqdm(total=total, desc=description, unit=unit, leave=leave, unit_scale=unit_scale)
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        leave=leave,
        unit_scale=unit_scale,
        mininterval=SECONDS_BETWEEN_LINES,
        maxinterval=SECONDS_BETWEEN_LINES,
        miniters=1,
    )
