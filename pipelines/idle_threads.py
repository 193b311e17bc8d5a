"""How OpenMP's threads wait for work. Imports nothing heavy: it must run before torch is imported."""

import os
from collections.abc import MutableMapping

_SAY_HOW = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Environment variables with which a user says how threads wait."""
_ROUNDS = 1000
"""Rounds that a thread of GCC's OpenMP waits before it sleeps, some ten microseconds: most operations of
torch follow each other sooner, and to wake a thread takes longer. By default it is 300,000."""


def let_idle_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have the threads that torch computes with sleep while they wait, unless the user says otherwise.

    By default they wait for milliseconds before they sleep. That is quick on an idle machine, but takes the
    cores from the threads of other processes that have work: two trainings at once on two cores take much
    longer than one after the other.

    Args:
        environment: environment variables of this process.
    """
    if not any(name in environment for name in _SAY_HOW):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        environment["GOMP_SPINCOUNT"] = str(_ROUNDS)
