"""Label columns of a data set that has changed since its cache was begun."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from losa.cache_format.manifest import LabelColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedColumn:
    """A column that holds the labels of a cache and those of a request."""

    column: LabelColumn
    renumbered: Int64[np.ndarray, "classes"]
    """Label in the request -> label in the cache."""

    def apply(self, labels: Int64[np.ndarray, "images"]) -> Int64[np.ndarray, "images"]:
        """Labels of the request, numbered as in the cache."""
        known = (labels >= 0) & (labels < len(self.renumbered))
        return np.where(known, self.renumbered[np.where(known, labels, 0)], labels) if known.any() else labels


def merge_column(stored: LabelColumn, requested: LabelColumn) -> MergedColumn | None:
    """The column of a cache, extended by classes that are new.

    Stored labels keep their numbers: new classes come after them, even if their names would sort before.

    Returns:
        The column, or None if only one of the two has names, so that they cannot be compared.

    >>> merge_column(
    ...     LabelColumn(name="label", num_classes=2, classes=("ant", "cat")),
    ...     LabelColumn(name="label", num_classes=2, classes=("bee", "cat")),
    ... ).column.classes
    ('ant', 'cat', 'bee')
    """
    if stored.name != requested.name or stored.kind != requested.kind:
        return None
    if stored.classes is None and requested.classes is None:
        count = max(stored.num_classes, requested.num_classes)
        return MergedColumn(
            column=replace(stored, num_classes=count), renumbered=np.arange(count, dtype=np.int64)
        )
    if stored.classes is None or requested.classes is None:
        return None
    names = list(dict.fromkeys([*stored.classes, *requested.classes]))
    number = {name: label for label, name in enumerate(names)}
    return MergedColumn(
        column=replace(stored, num_classes=len(names), classes=tuple(names)),
        renumbered=np.array([number[name] for name in requested.classes], np.int64),
    )
