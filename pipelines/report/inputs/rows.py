"""The lines of a results.csv."""

import csv
from collections.abc import Collection
from pathlib import Path

from losa.cache_format import LosaError


def read_rows(path: Path, columns: Collection[str]) -> list[dict[str, str]] | None:
    """The lines of a file, by the names of its columns; None if there is no file with these columns.

    Args:
        path: the file.
        columns: columns that tell this kind of file from others.

    Raises:
        LosaError: the file is no table of text, or a line is incomplete.
    """
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not set(columns) <= set(reader.fieldnames or ()):
                return None
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LosaError(f"{path} is damaged: {error}") from None
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise LosaError(f"{path}, line {number}: expected as many cells as there are columns")
    return rows


def number_in(path: Path, row: dict[str, str], column: str) -> float | None:
    """A number of a line; None for an empty cell.

    Raises:
        LosaError: the cell is no number.
    """
    text = row.get(column, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise LosaError(f"{path}, column {column}: expected a number, found {text!r}") from None
