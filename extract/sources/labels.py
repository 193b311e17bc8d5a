"""Label columns of data sets whose labels somebody wrote down: as numbers, or as names of classes."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from losa.cache_format.common.units import counted
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.base import composed

HIGHEST_LABEL = 2**31 - 2
"""The highest label of the largest label space that a cache describes."""


@lru_cache(maxsize=2**16)  # lists repeat few labels many times
def parse_label(text: str) -> int | None:
    """The label that a text says, which is -1 for an image without one; None if it says none.

    >>> parse_label("7"), parse_label("-1"), parse_label("-2"), parse_label("1.5")
    (7, -1, None, None)
    """
    if text == f"{MISSING_LABEL}":
        return MISSING_LABEL
    # Digits of other scripts are decimal, too, and int() refuses thousands of them.
    if not (text.isascii() and text.isdecimal()) or len(text) > 20 or int(text) > HIGHEST_LABEL:
        return None
    return int(text)


def numbered_column(
    name: str, labels: Int64[np.ndarray, "labels"], num_classes: int | None, place: Path | str
) -> LabelColumn:
    """The column of labels that are numbers.

    Args:
        name: its name.
        labels: all labels of the data set.
        num_classes: number of classes; None: the highest label and one more.
        place: the file, folder or URL with the labels, for messages.

    Raises:
        LosaError: a label is beyond the number of classes; or no number is given, and the highest label + 1
            is more than 10 times the number of different labels + 1000. (Years or the numbers of images,
            taken for labels, would make a head of millions of outputs.)
    """
    used = np.unique(labels[labels != MISSING_LABEL])
    highest = int(used[-1]) if used.size else -1
    if num_classes is None:
        if highest + 1 > 10 * used.size + 1000:
            raise LosaError(
                f"{place}: the highest {name} is {highest:,}, but only {used.size:,} different ones occur. A "
                f"network has an output for every class: if there are so many, say dataset.num_classes="
                f"{highest + 1}; otherwise number the classes from 0"
            )
        return LabelColumn(name=name, num_classes=highest + 1)
    if highest >= num_classes:
        raise LosaError(
            f"{place}: the highest {name} is {highest}, but dataset.num_classes={num_classes} allows only "
            f"0 to {num_classes - 1}"
        )
    return LabelColumn(name=name, num_classes=num_classes)


def is_number(text: str) -> bool:
    """Whether a text says any number, also one that is no label."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def named_column(
    name: str, classes: Sequence[str | None], num_classes: int | None, told: str
) -> tuple[LabelColumn, Int64[np.ndarray, "images"]]:
    """The column and the labels of images whose classes have names, which are numbered `in_order`.

    Args:
        name: its name.
        classes: name of the class of each image of the data set; None or -1 for one without a class.
        num_classes: number of classes; None: as many as there are names.
        told: beginning of the message for another number of classes, up to what names them.

    Raises:
        LosaError: there are more or fewer names than classes.
    """
    missing = (None, f"{MISSING_LABEL}")
    named = [None if text in missing else composed(str(text)) for text in classes]
    names = in_order(text for text in named if text is not None)
    if num_classes is not None and num_classes != len(names):
        raise LosaError(f"{told} names {counted(len(names), 'class', 'classes')}")
    return LabelColumn(name=name, num_classes=len(names), classes=names), named_labels(named, names)


def refuse_no_labels(name: str, labels: Int64[np.ndarray, "labels"], place: Path | str) -> None:
    """Refuse numbers that are no labels.

    Args:
        name: name of the column.
        labels: all labels of the data set.
        place: the file, folder or URL with the labels, for messages.

    Raises:
        LosaError: a number is below -1.
    """
    if labels.size and labels.min() < MISSING_LABEL:
        raise LosaError(
            f"{place}: expected labels from 0, or {MISSING_LABEL} for an image without one, as {name}, found "
            f"{labels.min()}"
        )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Different names of classes in the order of their labels: by number if all are numbers, else sorted.

    >>> in_order(["10", "9", "9"]), in_order(["b10", "b9"])
    (('9', '10'), ('b10', 'b9'))
    """
    different = set(names)
    if all(name.isascii() and name.isdecimal() for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


def named_labels(classes: Iterable[str | None], names: tuple[str, ...]) -> Int64[np.ndarray, "images"]:
    """The labels of images, from the names of their classes; an image of no class has the label -1."""
    label_of: dict[str | None, int] = {name: label for label, name in enumerate(names)}
    return np.array([label_of.get(name, MISSING_LABEL) for name in classes], np.int64)
