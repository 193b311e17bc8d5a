"""Progress bars for terminals, and occasional progress lines for log files."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0

# No monitor thread: decode workers are forked while bars are shown, and threads do not survive a fork.
tqdm.monitor_interval = 0


def progress_bar(
    total: int,
    description: str,
    unit: str,
    *,
    leave: bool = True,
    unit_scale: bool = False,
    disable: bool = False,
) -> "tqdm[Any]":
    """A tqdm progress bar. If stderr is not a terminal, it prints one line per minute.

    Args:
        total: number of units.
        description: text before the bar.
        unit: name of a unit.
        leave: whether the bar stays on the screen at the end.
        unit_scale: whether numbers are abbreviated with k, M and G.
        disable: whether nothing is shown, as where the results themselves show the progress.
    """
    if sys.stderr.isatty():
        return tqdm(
            total=total, desc=description, unit=unit, leave=leave, unit_scale=unit_scale, disable=disable
        )
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        leave=leave,
        unit_scale=unit_scale,
        disable=disable,
        mininterval=SECONDS_BETWEEN_LINES,
        maxinterval=SECONDS_BETWEEN_LINES,
        miniters=1,
    )
