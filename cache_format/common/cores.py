"""How many processor cores this process may use, and how many of them others leave idle."""

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from losa.cache_format.common.control_groups import control_groups

_SAMPLE_SECONDS = 0.2


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: those it is bound to, or fewer if a container has a quota.

    A quota of one and a half cores counts as two, which are then used three quarters of the time.

    Args:
        root: folder of ``proc`` and ``sys``.
    """
    # Not every system binds processes to cores.
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *map(math.ceil, _quotas(root))]))


def idle_cores(root: Path = Path("/")) -> float:
    """Cores of the whole machine that no process uses.

    Work counts if it was there over the last minute and still is: neither a short burst nor work that has
    just ended leaves fewer cores. Infinite where the kernel does not tell.

    Args:
        root: folder of ``proc``.
    """
    try:
        last_minute = float((root / "proc/loadavg").read_text().split()[0])
        before, started = _idle_seconds(root), time.monotonic()
        time.sleep(_SAMPLE_SECONDS)
        idle_now = (_idle_seconds(root) - before) / (time.monotonic() - started)
    except FileNotFoundError:
        return math.inf
    return max((os.cpu_count() or 1) - last_minute, idle_now)


def _idle_seconds(root: Path) -> float:
    """Seconds that the cores have been idle, in sum, since the machine was started."""
    times = (root / "proc/stat").read_text().split("\n", 1)[0].split()
    idle, waiting_for_disks = times[4:6]
    return (int(idle) + int(waiting_for_disks)) / os.sysconf("SC_CLK_TCK")


def _quotas(root: Path) -> Iterator[float]:
    """The quota of each control group that has one, in cores."""
    for version, folder in control_groups("cpu", root):
        try:
            if version == 2:
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
        except FileNotFoundError:
            continue
        if quota != "max" and int(quota) > 0:  # version 1 writes -1 for no quota
            yield int(quota) / int(period)
