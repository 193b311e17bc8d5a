"""Images named by the rows of tables: CSV or Parquet files with columns of labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from losa.cache_format.common.fields import is_name
from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import local_path
from losa.extract.sources.files import (
    WHOLE,
    FileList,
    FileSource,
    ListedIn,
    ListedPaths,
    existing_folder,
    usual_order,
)
from losa.extract.sources.table_columns import choose_columns
from losa.extract.sources.table_files import Table, is_parquet, read_table_file
from losa.extract.sources.table_labels import read_labels


def read_tables(
    root: Path,
    files: Sequence[str],
    *,
    image_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    split_column: str | None = None,
    num_classes: int | None = None,
    encoding: str | None = None,
) -> FileSource:
    """Tables with a row for each image.

    The split of an image is in its row, if there is a column of splits. Otherwise one table is one split,
    ``all``, and of several tables each is a split with the name of its file. Classes are numbered over all
    tables.

    Args:
        root: folder that the paths of images are relative to.
        files: the tables, relative to the root or absolute.
        image_column: column of the paths; None: the first with the name of a file, usual names before others.
        label_columns: columns of labels; None: the first with a usual name, or the only one left.
        split_column: column of the names of splits; None: the first with a usual name, if there is one.
        num_classes: number of classes, if there is one label column; None: as many as needed.
        encoding: encoding of CSV files; None: UTF-8, or that of their byte order marks.

    Raises:
        LosaError: a table or a column is missing or wrong; the message names the line or row.
    """
    listed = ListedPaths(existing_folder(root))
    paths_of_tables = [root / local_path(file) for file in files]
    if encoding is not None and all(map(is_parquet, paths_of_tables)):
        raise LosaError(f"dataset.encoding={encoding} is of CSV files, and Parquet has its own: leave it out")
    tables = [read_table_file(file, encoding) for file in paths_of_tables]
    chosen = choose_columns(tables[0], listed, image_column, label_columns, split_column)
    if num_classes is not None and len(chosen.labels) > 1:
        raise LosaError(
            f"dataset.num_classes={num_classes} is meant for one label column, not for "
            f"{', '.join(chosen.labels)}: leave it out, or choose one by dataset.label_columns"
        )
    labels = [
        read_labels(name, column, tables, num_classes if len(chosen.labels) == 1 else None)
        for name, column in chosen.labels.items()
    ]
    found: dict[str, FileList] = {}
    start = 0
    for table in tables:
        rows_of = _rows_of_splits(table, chosen.split, WHOLE if len(tables) == 1 else table.file.stem)
        paths = list(_paths(table, chosen.image, listed))
        for split, rows in rows_of.items():
            if split in found:
                raise LosaError(
                    f"{table.file}: another table has images of split {split!r}, too: put them into one table"
                )
            found[split] = FileList(
                paths=[paths[row] for row in rows],
                labels={one.column.name: one.values[start + np.array(rows)] for one in labels},
                listed_in=ListedIn(
                    file=table.file, numbers=[table.numbers[row] for row in rows], unit=table.unit
                ),
            )
        start += len(paths)
    notes = [*chosen.notes, *(note for one in labels for note in one.notes)]
    splits = {split: found[split] for split in usual_order(found)}
    return FileSource(root, splits, [one.column for one in labels], notes)


def _paths(table: Table, column: str, listed: ListedPaths) -> Iterator[str]:
    for row, written in enumerate(table.column(column)):
        if not written:
            raise LosaError(f"{table.place(row)}: column {column!r} names no image")
        try:
            yield listed.relative(written)
        except LosaError as error:
            raise LosaError(f"{table.place(row)}: {error}") from None


def _rows_of_splits(table: Table, column: str | None, name: str) -> dict[str, list[int]]:
    if column is None:
        return {name: list(range(len(table.numbers)))}
    rows: dict[str, list[int]] = {}
    for row, split in enumerate(table.column(column)):
        rows.setdefault(split.strip(), []).append(row)
    for split in rows:
        if not is_name(split):
            raise LosaError(
                f"{table.place(rows[split][0])}: split {split!r} in column {column!r}: a name has at most "
                "100 letters, digits, '.', '_' and '-'"
            )
    return rows
