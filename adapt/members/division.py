"""Divides the members of a sweep among workers."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise

from losa.adapt.members.passes import group_key, reading_key
from losa.adapt.members.preparation import PreparedJob


def divide(members: Sequence[PreparedJob], workers: int) -> list[list[PreparedJob]]:
    """Divide members into parts, each of which one worker trains.

    A part holds members that read the same images in the same order. It is as large as the number of workers
    allows, because each part reads them again. Members that form one network stay together as far as that
    goes. Successive halving compares members, so those with ``halve_at`` are not divided.

    Args:
        members: the members, which need not share a pass.
        workers: number of workers; one has all members.

    Returns:
        The parts, those with most to compute first.
    """
    if workers == 1:
        return [list(members)]
    readings: dict[Hashable, list[PreparedJob]] = defaultdict(list)
    for member in members:
        readings[reading_key(member)].append(member)
    parts = dict.fromkeys(readings, 1)
    while sum(parts.values()) < workers:
        smaller = {
            key: len(some) / parts[key]
            for key, some in readings.items()
            if parts[key] < len(some) and not some[0].config.halve_at
        }
        if not smaller:
            break
        parts[max(smaller, key=lambda key: smaller[key])] += 1
    divided = [part for key, some in readings.items() for part in _cut(some, parts[key])]
    return sorted(divided, key=_computed, reverse=True)


def _cut(members: Sequence[PreparedJob], parts: int) -> list[list[PreparedJob]]:
    """Parts of nearly equal size, of members whose networks follow each other."""
    networks: dict[Hashable, list[PreparedJob]] = defaultdict(list)
    for member in members:
        networks[group_key(member)].append(member)
    ordered = [member for network in networks.values() for member in network]
    bounds = [len(ordered) * part // parts for part in range(parts + 1)]
    return [ordered[start:stop] for start, stop in pairwise(bounds)]


def _computed(members: Sequence[PreparedJob]) -> int:
    """Images that all members of a part compute, in sum."""
    return sum(member.computed_images for member in members)
