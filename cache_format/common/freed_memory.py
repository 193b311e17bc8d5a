"""Keeps memory that is freed for the next batch, which needs as much again."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, by their numbers in glibc's malloc.h."""
_KEPT = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_THRESHOLD: 2**30}
_USUAL = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25}
"""The highest values that glibc chooses by itself, once a program has freed large blocks."""


@contextmanager
def freed_memory_kept(device: str) -> Iterator[None]:
    """A context in which the C library keeps what is freed, and gives it back to the system at the end.

    On a CPU the tensors of a batch are allocated and freed like those of the batch before. By default glibc
    gives large ones back to the system at once, which has to fill new pages with zeros: a tenth to a fifth of
    the time of a forward pass, and up to half of that of a training step of one side network. Other C
    libraries are left as they are, and so is everything on a GPU, whose memory torch keeps. Results do not
    depend on it.

    Args:
        device: the compute device.
    """
    library = ctypes.CDLL(None)
    if not device.startswith("cpu") or not hasattr(library, "mallopt"):
        yield
        return
    _set(library, _KEPT)
    try:
        yield
    finally:
        _set(library, _USUAL)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        library.mallopt(parameter, value)
