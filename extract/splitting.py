"""Cuts a split of a data set into several, by class and by a seed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Int64

from losa.cache_format import LosaError, SplitContents
from losa.cache_format.common.units import counted
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.config import SplitParts
from losa.extract.sources import ImageSource

_TRAIN = "train"
_NAMES = {1: (_TRAIN, "test"), 2: (_TRAIN, "test"), 3: (_TRAIN, "val", "test")}


def cut(source: ImageSource, whole: str | None, parts: SplitParts, seed: int) -> list[SplitContents]:
    """Cut a split of a data set into parts.

    Each class is cut in the same proportions. Which images are in which part follows from their keys and the
    seed, so that a data set keeps nearly all of its images in their parts when it grows.

    Args:
        source: the data set.
        whole: name of the split to cut; None: the only one.
        parts: fractions of the images, or numbers of images. The second of two parts may be left out.
        seed: another one gives other parts.

    Raises:
        LosaError: the data set has several splits and none is named, or the parts do not fit it.
    """
    if whole is None:
        if len(source.splits) != 1:
            raise LosaError(
                f"split={_shown(parts)} cuts a data set that has one split; this one has "
                f"{', '.join(source.splits)}: leave it out, or say which one to cut, as in "
                f"split_of={source.splits[0]}"
            )
        (whole,) = source.splits
    contents = source.contents(whole)
    sizes = _sizes(parts, len(contents.keys))
    part_of = _assign(contents.keys, contents.first_labels, list(sizes.values()), seed)
    of = f" split_of={whole}" if len(source.splits) > 1 else ""
    rule = f"split={_shown(parts)} split_seed={seed}{of}"
    made = [
        replace(contents.at(np.flatnonzero(part_of == number)), name=name, rule=rule)
        for number, name in enumerate(sizes)
    ]
    _refuse_one_class(parts, contents, made)
    return made


def _shown(parts: SplitParts) -> str:
    if isinstance(parts, Mapping):
        return "{" + ",".join(f"{name}:{part:g}" for name, part in parts.items()) + "}"
    if isinstance(parts, Sequence):
        return "[" + ",".join(f"{part:g}" for part in parts) + "]"
    return f"{parts:g}"


def _sizes(parts: SplitParts, images: int) -> dict[str, int]:
    """Name and number of images of every part."""
    if isinstance(parts, Mapping):
        named = dict(parts)
    else:
        values = list(parts) if isinstance(parts, Sequence) else [parts]
        if len(values) not in _NAMES:
            raise LosaError(
                f"split={_shown(parts)}: expected one to three parts; name them if there are more: "
                "split={train:0.7,val:0.1,test:0.1,extra:0.1}"
            )
        named = dict(zip(_NAMES[len(values)], values, strict=False))
    fractions = all(isinstance(part, float) and 0 < part < 1 for part in named.values())
    counts = all(isinstance(part, int) and part > 0 for part in named.values())
    total = sum(named.values())
    if not (fractions or counts) or (fractions and total > 1 + 1e-9) or (counts and total > images):
        raise LosaError(
            f"split={_shown(parts)}: expected fractions between 0 and 1, of at most 1 in all, or numbers of "
            f"images, of at most {images:,} in all"
        )
    bounds = [0.0, *np.cumsum(list(named.values())).tolist()]
    ends = [round(bound * images) if fractions else int(bound) for bound in bounds]
    sizes = {name: end - start for name, (start, end) in zip(named, pairwise(ends), strict=True)}
    if not isinstance(parts, Mapping) and len(sizes) == 1:
        sizes["test"] = images - ends[-1]
    empty = [name for name, size in sizes.items() if not size]
    if empty:
        raise LosaError(f"split={_shown(parts)}: part {empty[0]!r} of {images:,} images would be empty")
    return sizes


def _refuse_one_class(parts: SplitParts, whole: SplitContents, made: Sequence[SplitContents]) -> None:
    """Refuse to train on images of one class, of a data set that has more."""
    for part in made:
        if part.name == _TRAIN and len(_classes(part)) < 2 <= len(_classes(whole)):
            raise LosaError(
                f"split={_shown(parts)}: part {part.name!r} of {counted(len(part.keys), 'image', 'images')} "
                "would have images of one class at most, and a classifier needs two to be trained: take "
                "more images, or a fraction, such as split=0.8"
            )


def _classes(contents: SplitContents) -> set[int]:
    return set(contents.first_labels.tolist()) - {MISSING_LABEL}


def _assign(
    keys: Sequence[str], labels: Int64[np.ndarray, "images"], sizes: Sequence[int], seed: int
) -> Int64[np.ndarray, "images"]:
    """Number of the part of every image; -1 for images in none."""
    order = np.array([_place(key, seed) for key in keys])
    part_of = np.full(len(keys), -1, np.int64)
    queues = [
        rows[np.argsort(order[rows])] for rows in (np.flatnonzero(labels == one) for one in np.unique(labels))
    ]
    for number, size in enumerate(sizes):
        lengths = np.array([len(queue) for queue in queues])
        for place, taken in enumerate(_shares(lengths, size)):
            part_of[queues[place][:taken]] = number
            queues[place] = queues[place][taken:]
    return part_of


def _place(key: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _shares(lengths: Int64[np.ndarray, "classes"], total: int) -> list[int]:
    """Numbers of images of every class, in proportion to the lengths, by the largest remainders."""
    exact = lengths * (total / lengths.sum())
    shares = np.floor(exact).astype(np.int64)
    most = np.argsort(shares - exact, kind="stable")[: total - shares.sum()]
    shares[most] += 1
    return [int(share) for share in shares]
