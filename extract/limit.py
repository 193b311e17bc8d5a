"""Takes a few images of a split, of all its classes."""

import numpy as np

from losa.cache_format import SplitContents


def limited(contents: SplitContents, limit: int) -> SplitContents:
    """At most ``limit`` images of a split, in their order: first one of each class, then a second, and so on.

    Many data sets are sorted by class; their first images would all be of one.
    """
    if len(contents.keys) <= limit:
        return contents
    labels = contents.first_labels
    by_class = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[by_class], prepend=labels[by_class[0]] - 1))
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, np.diff(starts, append=len(labels)))
    return contents.at(np.sort(np.argsort(rank, kind="stable")[:limit]))
