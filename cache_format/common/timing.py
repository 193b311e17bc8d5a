"""Timing of repeated calls within a time limit."""

import time
from collections.abc import Callable


def timed_calls(call: Callable[[], object], *, most: int, seconds: float, device: str = "cpu") -> list[float]:
    """Seconds of each call. The first call is always made; another one only if it should end in time.

    Args:
        call: what is timed.
        most: number of calls, if there is time for all of them.
        seconds: time limit of all calls together. A call is expected to take as long as the one before it.
        device: waited for after each call.
    """
    found: list[float] = []
    while len(found) < most and (not found or sum(found) + found[-1] <= seconds):
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        found.append(time.perf_counter() - start)
    return found


def synchronise(device: str) -> None:
    """Wait until a GPU has finished its work."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
