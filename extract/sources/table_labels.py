"""Labels from a column of a table: numbers, or names of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.labels import is_number, named_column, numbered_column, parse_label
from losa.extract.sources.notes import shortened
from losa.extract.sources.table_files import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLabels:
    """One label column, over all rows of all tables."""

    column: LabelColumn
    values: Int64[np.ndarray, "rows"]
    notes: tuple[str, ...] = ()


def read_labels(name: str, column: str, tables: Sequence[Table], num_classes: int | None) -> TableLabels:
    """Read a column of labels. An image without one has no value, or -1.

    If all values are numbers, they are the labels; otherwise they are names of classes, in sorted order.

    Args:
        name: name of the label column.
        column: name of the tables' column.
        tables: the tables, which all have this column.
        num_classes: number of classes; None: as many as needed.

    Raises:
        LosaError: a number is no label, or there are more classes than told.
    """
    values = [value.strip() for table in tables for value in table.column(column)]
    different = set(values) - {""}
    label_of = {text: _number(text) for text in different}
    if None in label_of.values() and not all(map(is_number, different)):
        return _names(name, values, num_classes)
    numbers = {"": MISSING_LABEL}
    for text, label in label_of.items():
        if label is None:
            raise LosaError(
                f"{_place(tables, column, text)}: expected a label in column {column!r}, a number from 0, or "
                f"-1 or nothing for an image without one, found {text!r}"
            )
        numbers[text] = label
    labels = np.array([numbers[text] for text in values], np.int64)
    return TableLabels(column=numbered_column(name, labels, num_classes, tables[0].file), values=labels)


def _names(name: str, values: Sequence[str], num_classes: int | None) -> TableLabels:
    told = f"dataset.num_classes={num_classes}, but column {name!r}"
    column, labels = named_column(name, [text or None for text in values], num_classes, told)
    numbers = [text for text in column.classes or () if is_number(text)]
    return TableLabels(
        column=column,
        values=labels,
        notes=(f"column {name!r} holds names and numbers ({shortened(numbers)}): all are names of classes",)
        if numbers
        else (),
    )


def _number(text: str) -> int | None:
    """The label that a text says; pandas writes 3 as 3.0 if another image has no label."""
    return parse_label(text.removesuffix(".0"))


def _place(tables: Sequence[Table], column: str, text: str) -> str:
    return next(
        table.place(row)
        for table in tables
        for row, value in enumerate(table.column(column))
        if value.strip() == text
    )
