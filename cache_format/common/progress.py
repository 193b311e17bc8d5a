"""Progress bars for terminals, and occasional progress lines for log files."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0
_TIMES = "[{elapsed}<{remaining}, {rate_fmt}{postfix}]"

# No monitor thread: decode workers are forked while bars are shown, and threads do not survive a fork.
tqdm.monitor_interval = 0


class ProgressBar(Protocol):
    """What is told of progress: a bar of tqdm, or whoever passes it on to one."""

    def update(self, n: int) -> Any:
        """Some more units are done."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Show a text behind the numbers."""


OpenBar = Callable[..., AbstractContextManager[ProgressBar]]
"""`progress_bar`, or what takes the same arguments."""


class _Lines:
    """A file to which tqdm writes the states of a bar, each on a line of its own in stderr."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        """Write a state, unless it is the last one again."""
        line = text.strip("\r\n ")
        if line and line != self._last:
            sys.stderr.write(f"{line}\n")
            self._last = line

    def flush(self) -> None:
        """Show what was written."""
        sys.stderr.flush()


def progress_bar(
    total: int,
    description: str,
    unit: str,
    *,
    leave: bool = True,
    unit_scale: bool = False,
    disable: bool = False,
    initial: int = 0,
    counts: bool = True,
    delay: float = 0.0,
) -> "tqdm[Any]":
    """A tqdm progress bar. If stderr is not a terminal, it prints one line per minute.

    Args:
        total: number of units.
        description: text before the bar.
        unit: name of a unit.
        leave: whether the bar stays on the screen at the end.
        unit_scale: whether numbers are abbreviated with k, M and G.
        disable: whether nothing is shown, as where the results themselves show the progress.
        initial: number of units that were done before.
        counts: whether a bar on a terminal shows the numbers of units, which leave less room for other text.
        delay: seconds before anything is shown.
    """
    options: dict[str, Any] = {
        "total": total,
        "desc": description,
        "unit": unit,
        "leave": leave,
        "unit_scale": unit_scale,
        "initial": initial,
        "delay": delay,
        "disable": disable,
    }
    if sys.stderr.isatty():
        numbers = "{n_fmt}/{total_fmt} " if counts else ""
        return tqdm(
            bar_format=f"{{l_bar}}{{bar}}| {numbers}[{{elapsed}}<{{remaining}}, {{rate_fmt}}{{postfix}}]",
            **options,
        )
    return tqdm(
        file=_Lines(),
        bar_format=f"{{desc}}: {{percentage:.0f}}%, {{n_fmt}}/{{total_fmt}} {_TIMES}",
        mininterval=SECONDS_BETWEEN_LINES,
        maxinterval=SECONDS_BETWEEN_LINES,
        miniters=1,
        **options,
    )
