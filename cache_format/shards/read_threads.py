"""The number of threads that share the work of one read."""

from losa.cache_format.common.cores import usable_cores

MOST_THREADS = 4
"""Largest default number of threads. More threads do not read faster from memory."""


def default_threads() -> int:
    """The number of cores that this process may use, up to a limit."""
    return min(MOST_THREADS, usable_cores())
