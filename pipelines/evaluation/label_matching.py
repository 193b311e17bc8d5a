"""Labels of a data set in the numbers of a side network's classes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from losa.cache_format import LabelColumn, LosaError
from losa.cache_format.metadata.labels import MISSING_LABEL

_MOST_SHOWN = 20
"""Names of classes in a message."""


def matched_labels(
    side_network: str,
    expected: LabelColumn,
    columns: Sequence[LabelColumn],
    labels: Mapping[str, Int64[np.ndarray, "images"]],
) -> Int64[np.ndarray, "images"]:
    """The labels of images in a side network's column, -1 where an image has none.

    Columns are matched by name. Where both have names for their classes, the classes are matched by name as
    well, in whatever order they are, and every class that occurs must be one that the side network knows.
    Otherwise the numbers of classes must be equal.

    Args:
        side_network: its name, for messages.
        expected: label column of the side network.
        columns: label columns of the data set.
        labels: label column of the data set -> label of every image.

    Raises:
        LosaError: the data set lacks the column, or has other classes in it.
    """
    found = next((column for column in columns if column.name == expected.name), None)
    if found is None or found.num_classes == 0:
        known = ", ".join(column.name for column in columns if column.num_classes) or "none"
        raise LosaError(
            f"side network {side_network} has the label column {expected.name!r}; the images have: {known}. "
            "It can be judged only on images with these labels"
        )
    given = labels[found.name]
    if expected.classes is not None and found.classes is not None:
        number = {name: label for label, name in enumerate(expected.classes)}
        occurring = np.unique(given[given != MISSING_LABEL])
        if any(found.classes[label] not in number for label in occurring):
            raise _other_classes(side_network, expected, found)
        renumbered = np.array([number.get(name, MISSING_LABEL) for name in found.classes], np.int64)
        return np.where(given == MISSING_LABEL, MISSING_LABEL, renumbered[given])
    if expected.num_classes != found.num_classes:
        raise _other_classes(side_network, expected, found)
    return given


def _other_classes(side_network: str, expected: LabelColumn, found: LabelColumn) -> LosaError:
    return LosaError(
        f"label column {expected.name!r} has other classes than side network {side_network}:\n"
        f"  side network: {_listed(expected)}\n  images: {_listed(found)}"
    )


def _listed(column: LabelColumn) -> str:
    if column.classes is None:
        return f"{column.num_classes} without names"
    more = f", ... ({column.num_classes} in all)" if column.num_classes > _MOST_SHOWN else ""
    return ", ".join(column.classes[:_MOST_SHOWN]) + more
