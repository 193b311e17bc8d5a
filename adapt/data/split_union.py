"""Several splits read as one: the union of their images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from losa.cache_format import Cache, LosaError, Split
from losa.cache_format.metadata.index import image_ids, read_index


def open_union(
    cache: Cache, names: Sequence[str], views: int = 1, sites: Sequence[str] | None = None
) -> Split:
    """Open splits for reading as if they were one; a single split is opened as it is.

    The images are those of the first split, then those of the second that are new, and so on: an image that
    several splits contain counts once. Reading costs the same as from one split.

    Args:
        cache: the cache.
        names: names of the splits.
        views: number of views that each split holds of its images. The union, too, lists the images first,
            then the next view of each.
        sites: names of the sites to read; None for all.

    Raises:
        LosaError: there is no such split, it is not finished, or it cannot hold so many views.
    """
    if len(names) == 1:
        return cache.split(names[0], sites)
    return cache.select(union_index(cache, names, views), union_name(names), sites)


def union_index(cache: Cache, names: Sequence[str], views: int = 1) -> Int64[np.ndarray, "images two"]:
    """The number of the segment and the row there of each image of a union; see `open_union`."""
    indices = [read_index(cache.metadata, cache.manifest.split(name)) for name in names]
    if len(names) == 1:
        return indices[0]
    for name, index in zip(names, indices, strict=True):
        if len(index) % views:
            raise other_views(cache, name, views)
    by_view = np.concatenate([index.reshape(views, -1, 2) for index in indices], axis=1)
    _, first = np.unique(image_ids(by_view[0]), return_index=True)
    return by_view[:, np.sort(first)].reshape(-1, 2)


def union_name(names: Sequence[str]) -> str:
    """The name of a union in messages and results; no split has such a name.

    >>> union_name(["train", "val"]), union_name(["test"])
    ('train+val', 'test')
    """
    return "+".join(names)


def other_views(cache: Cache, name: str, views: int) -> LosaError:
    """The error for a split that does not hold this number of views of each of its images."""
    return LosaError(f"{cache.path}: split {name!r} does not hold {views} views of each of its images")
