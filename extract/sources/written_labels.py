"""Labels that are written with the images: numbers, or names of classes."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from losa.cache_format.common.fields import is_name
from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.labels import is_number, named_column, numbered_column, parse_label


def written_labels(
    name: str, texts: Sequence[str | None], num_classes: int | None, place: str
) -> tuple[LabelColumn, Int64[np.ndarray, "images"]]:
    """The label column of texts: if all are numbers, these are the labels, otherwise names of classes.

    Args:
        name: name of the column.
        texts: for each image of the whole data set a number or a name; None or -1 for one without a label.
        num_classes: number of classes; None: as many as needed.
        place: the data set, for messages.

    Raises:
        LosaError: a number is no label, or the number of classes is another one.
    """
    label_of = {text: parse_label(text) for text in dict.fromkeys(texts) if text is not None}
    no_labels = [text for text, label in label_of.items() if label is None]
    if not no_labels:
        numbers = {None: MISSING_LABEL} | {
            text: label for text, label in label_of.items() if label is not None
        }
        labels = np.array([numbers[text] for text in texts], np.int64)
        return numbered_column(name, labels, num_classes, place), labels
    if all(map(is_number, label_of)):
        raise LosaError(
            f"{place}: {name}: expected names of classes, or numbers from 0, or -1 for an image without a "
            f"label, found {no_labels[0]!r}"
        )
    told = f"{place}: dataset.num_classes={num_classes}, but {name}"
    return named_column(name, texts, num_classes, told)


def column_name(text: str) -> str:
    """A name for a label column, which becomes the name of a file, from what it is called in a data set.

    Raises:
        LosaError: nothing is left of the name.

    >>> column_name("class id")
    'class_id'
    """
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-")
    if not is_name(name):
        raise LosaError(
            f"label column {text!r}: expected a name with letters, digits, '.', '_' or '-': rename it"
        )
    return name
