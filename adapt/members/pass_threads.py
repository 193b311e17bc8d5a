"""The number of threads that compute a pass on the CPU."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from losa.adapt.architecture import Architecture
from losa.adapt.members.preparation import PreparedJob
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format.common.cores import usable_cores
from losa.cache_format.common.threads import thread_count

_MULTIPLICATIONS_PER_THREAD = 10_000_000
"""Multiplications of a layer's product with a batch for which one more thread is worth waking. With less work
for each, a step takes as long or longer with more threads (docs/fused-step.md)."""


@contextmanager
def pass_threads(members: Sequence[PreparedJob], find_idle: Callable[[], float]) -> Iterator[int]:
    """A context in which torch computes with as many threads as suit a pass.

    Args:
        members: the members of the pass.
        find_idle: gives the number of cores that other processes leave idle.

    Yields:
        The number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(_count(members, before, find_idle))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _count(members: Sequence[PreparedJob], current: int, find_idle: Callable[[], float]) -> int:
    config = members[0].config
    # The last bits of a sum depend on the number of threads: members resume with those they were begun with.
    begun = [member.checkpoint.progress.get("threads") for member in members if member.checkpoint is not None]
    known: list[int] = [count for count in begun if count is not None]
    if known and config.threads == "auto":
        return min(max(known), usable_cores())
    worth = _multiplications(members) / _MULTIPLICATIONS_PER_THREAD
    return thread_count(config.threads, current, worth, find_idle)


def _multiplications(members: Sequence[PreparedJob]) -> int:
    """Those of one layer's product with the features of a batch, in the largest network of a pass."""
    features = members[0].features
    rows: Counter[Architecture] = Counter()
    for member in members:
        option = SIDE_NETWORKS[member.architecture.side].product_rows
        rows[member.architecture] += 1 if option is None else getattr(member.architecture, option)
    return members[0].config.batch_size * features.tokens.count * features.width * max(rows.values())
