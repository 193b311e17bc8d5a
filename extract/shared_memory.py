"""How many decoding processes the shared memory has room for, through which they hand over their images."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

from losa.cache_format.common.units import readable

_log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
MOST_AHEAD = 2
"""Batches that each process makes ahead of their use, where there is room for them."""
_IN_USE = 2
"""Batches that stay in shared memory while they are used: the current one and the next."""


class DecodingProcesses(NamedTuple):
    """Number of processes, and of batches that each one makes ahead of their use."""

    count: int
    ahead: int


def fit_processes(wanted: int, batch_bytes: int, folder: Path = SHARED_MEMORY) -> DecodingProcesses:
    """Fewer processes than wanted, or none, if their batches have no room in shared memory.

    A process whose batch has no room fails. Containers often have 64 MB.

    Args:
        wanted: number of processes.
        batch_bytes: bytes of the network inputs of a batch.
        folder: where the system keeps shared memory. Not every system has this folder, or a limit.
    """
    if not wanted or not folder.is_dir():
        return DecodingProcesses(wanted, MOST_AHEAD)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    room = free // max(1, batch_bytes) - _IN_USE
    ahead = max(1, min(MOST_AHEAD, room // wanted))
    count = max(0, min(wanted, room // ahead))
    if count < wanted:
        _log.warning(
            "%s has %s free, and a batch takes %s there: %s decode instead of %d. Give it more space (in a "
            "container by docker run --shm-size=8g), or choose a smaller batch_size",
            folder,
            readable(free),
            readable(batch_bytes),
            f"{count} processes" if count else "no processes of their own",
            wanted,
        )
    return DecodingProcesses(count, ahead)
