"""How many threads compute: the option ``threads``."""

import math
import os
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from losa.cache_format.common.cores import usable_cores

Threads = Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
"""The option ``threads``."""

_CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def thread_count(
    wanted: Threads,
    current: int,
    worth: float = math.inf,
    find_idle: Callable[[], float] = lambda: math.inf,
) -> int:
    """The number of threads to compute with.

    Args:
        wanted: the option ``threads``.
        current: torch's number of threads. ``auto`` does not exceed it, and keeps it if the user chose it by
            an environment variable.
        worth: how many threads the work is worth.
        find_idle: gives the number of cores that other processes leave idle; called only if it matters.
    """
    if wanted != "auto":
        return wanted
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return current
    most = int(min(current, usable_cores(), max(1, worth)))
    if most > 1:
        most = min(most, max(1, round(min(most, find_idle()))))
    return most
