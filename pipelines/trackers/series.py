"""The series of a sweep: those of each member, or three for each pass of a large sweep."""

import re
import statistics
from collections import defaultdict
from collections.abc import Mapping

MOST_MEMBERS = 100
"""Number of members up to which each has series of its own."""
_UNRANKED = ("lr",)
"""Numbers of which none is better than another."""
_LOW_IS_GOOD = ("train_loss",)


def own_series(members: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """A series for each number of each member.

    >>> own_series({"losa-r4": {"lr": 0.1, "train_loss": 2.0}})
    {'lr/losa-r4': 0.1, 'train_loss/losa-r4': 2.0}

    Args:
        members: the numbers of each member of a pass, by their names.
    """
    return {
        _series(name, member): value for member, found in members.items() for name, value in found.items()
    }


def pass_series(first: str, members: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The best, median and worst of each number over the members of a pass.

    >>> pass_series("a", {"a": {"train_loss": 2.0}, "b": {"train_loss": 1.0}, "c": {"train_loss": 4.0}})
    {'train_loss/best/a': 1.0, 'train_loss/median/a': 2.0, 'train_loss/worst/a': 4.0}

    Args:
        first: the name of the pass's first member, by which its series are named.
        members: the numbers of each member, by their names.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for found in members.values():
        for name, value in found.items():
            if name not in _UNRANKED:
                values[name].append(value)
    series = {}
    for name, numbers in values.items():
        best, worst = (min, max) if name in _LOW_IS_GOOD else (max, min)
        series[_series(name, "best", first)] = best(numbers)
        series[_series(name, "median", first)] = statistics.median(numbers)
        series[_series(name, "worst", first)] = worst(numbers)
    return series


def _series(*parts: str) -> str:
    """The name of a series, without signs that a tracker refuses."""
    return re.sub(r"[^A-Za-z0-9_./-]+", "_", "/".join(parts))
