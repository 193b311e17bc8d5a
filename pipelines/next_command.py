"""The command to run after an extraction: one that works on the splits and labels that the cache has."""

import shlex
from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Int64

from losa.adapt import AdaptConfig
from losa.cache_format import Cache
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.views import parse_views_split
from losa.pipelines.shell_override import shell_override

_TRAIN = (AdaptConfig.train_split, "train", "train800")
_EVAL = (AdaptConfig.eval_split, "val", "validation", "val200")


def next_command(cache: Cache, overrides: Sequence[str]) -> str:
    """What to run next, or why there is nothing to train on.

    Args:
        cache: the finished cache.
        overrides: the options of the extraction as they were given, to be repeated.
    """
    named = [column.name for column in cache.manifest.labels if column.num_classes > 1]
    column = AdaptConfig.label if AdaptConfig.label in named else next(iter(named), None)
    labelled = [] if column is None else _labelled_splits(cache, column)
    if column is None or not labelled:
        return (
            "nothing to train on: the images have no labels of two classes or more. Side networks are "
            "trained on a data set with labels, such as a folder for each class"
        )
    trainable = [name for name in labelled if len(np.unique(_labels(cache, name, column))) > 1]
    if not trainable:
        return (
            f"nothing to train on: no split has images of two classes of {column!r}. Extract more images, or "
            "cut them otherwise (split=0.8)"
        )
    pair = _disjoint_pair(cache, trainable, labelled)
    if pair is None:
        (only, *_) = trainable
        alone = len(cache.manifest.splits) == 1
        parts = ["split=0.8"] if alone else [f"split_of={only}", "split={fit:0.8,held:0.2}"]
        again = " ".join(shlex.quote(option) for option in (*overrides, *parts))
        return (
            f"split {only} has labels, and no other images have: cut it in two, to train on one part and to "
            f"score the other; nothing is extracted again\nnext: losa-extract {again}"
        )
    options = [shell_override("cache", str(cache.path))]
    options += [f"label={column}"] if column != AdaptConfig.label else []
    if pair != (AdaptConfig.train_split, AdaptConfig.eval_split):
        options += [f"train_split={pair[0]}", f"eval_split={pair[1]}"]
    others = f"label columns: {', '.join(named)}\n" if len(named) > 1 else ""
    return f"{others}next: losa-adapt {' '.join(options)} side=losa rank=8"


def _labelled_splits(cache: Cache, column: str) -> list[str]:
    """Splits with a label in a column; those of augmented views are left out."""
    return [
        record.name
        for record in cache.manifest.splits
        if parse_views_split(record.name)[1] == 1 and len(_labels(cache, record.name, column))
    ]


def _labels(cache: Cache, split: str, column: str) -> Int64[np.ndarray, "_images"]:
    """The labels in a column of the images of a split that have one."""
    labels = cache.split(split).labels(column)
    known: Int64[np.ndarray, "_images"] = labels[labels != MISSING_LABEL]
    return known


def _disjoint_pair(cache: Cache, trainable: Sequence[str], labelled: Sequence[str]) -> tuple[str, str] | None:
    """A split to train on and one to score that share no image; the usual names come first."""
    keys = {name: frozenset(cache.split(name).keys) for name in labelled}
    for train, scored in product(_usual_first(trainable, _TRAIN), _usual_first(labelled, _EVAL)):
        if keys[train].isdisjoint(keys[scored]):
            return train, scored
    return None


def _usual_first(names: Sequence[str], usual: Sequence[object]) -> list[str]:
    return sorted(names, key=lambda name: usual.index(name) if name in usual else len(usual))
