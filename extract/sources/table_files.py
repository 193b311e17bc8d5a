"""Reads tables, CSV or Parquet, as columns of text."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losa.cache_format.errors import LosaError
from losa.extract.sources.text import first_line, read_text

_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The columns of a table, as text."""

    file: Path
    columns: dict[str, list[str]]
    """Name -> its values; empty where there is none."""
    numbers: Sequence[int]
    """For each row its number in the file, for messages."""
    unit: str
    """What is numbered: lines or rows."""

    def column(self, name: str) -> list[str]:
        """The values of a column.

        Raises:
            LosaError: there is no such column; those that exist are listed.
        """
        if name not in self.columns:
            raise LosaError(f"{self.file} has no column {name!r}; it has: {', '.join(self.columns)}")
        return self.columns[name]

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"{self.file}, {self.unit} {self.numbers[row]}"


def read_table_file(file: Path, encoding: str | None) -> Table:
    """Read a table, by the ending of its name: .parquet, or text whose first line names the columns.

    Args:
        file: the file.
        encoding: encoding of a text file; None: UTF-8, or that of its byte order mark.

    Raises:
        LosaError: it is missing, damaged or empty; the message names the line.
    """
    table = _read_parquet(file) if is_parquet(file) else _read_csv(file, encoding)
    if not table.numbers:
        raise LosaError(f"{file} has no rows")
    return table


def is_parquet(file: Path) -> bool:
    """Whether a table is read as Parquet, which the ending of its name tells."""
    return file.suffix.lower() == ".parquet"


def _read_csv(file: Path, encoding: str | None) -> Table:
    header = first_line(file, encoding)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else max(_DELIMITERS, key=header.count)
    reader = csv.reader(
        io.StringIO(read_text(file, encoding), newline=""),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,
    )
    columns: dict[str, list[str]] = {}
    numbers: list[int] = []
    end = 0
    try:
        for row in reader:
            start, end = end + 1, reader.line_num
            if row in ([], [""]):
                continue
            if not columns:
                columns = {name: [] for name in _names(file, row)}
            elif len(row) != len(columns):
                raise LosaError(
                    f"{file}, line {start}: expected {len(columns)} values, as many as the first line has "
                    f"names, found {len(row)}"
                )
            else:
                for values, value in zip(columns.values(), row, strict=True):
                    values.append(value)
                numbers.append(start)
    except csv.Error as error:
        raise LosaError(f"{file}, line {end + 1}: {_problem(error, delimiter)}") from None
    return Table(file=file, columns=columns, numbers=numbers, unit="line")


def _problem(error: csv.Error, delimiter: str) -> str:
    """What is wrong with the quotes of a line, in plain words; csv names no delimiter that can be seen."""
    written = 'a quote inside a quoted value is written twice ("")'
    if str(error) == "unexpected end of data":
        return f'a quote (") is opened and never closed; {written}'
    if "expected after" in str(error):
        return f"expected {_DELIMITERS[delimiter]} after a closing quote; {written}"
    return str(error)


def _names(file: Path, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise LosaError(f"{file}: two columns are named {sorted(twice)[0]!r}: rename one")
    return names


def _read_parquet(file: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise LosaError(
            f"{file}: Parquet needs pyarrow, which is not installed: pip install 'losa[parquet]'"
        ) from None
    try:
        # No threads, which reading ahead would start, too: the workers are forked.
        with file.open("rb") as raw, parquet.ParquetFile(raw, pre_buffer=False) as opened:
            names = [field.name for field in opened.schema_arrow if _is_plain(field.type)]
            table = opened.read(columns=names, use_threads=False)
    except OSError as error:
        raise LosaError(f"{file} cannot be read: {error.strerror or error}") from None
    except ArrowException as error:
        raise LosaError(f"{file} is no Parquet file that can be read: {error}") from None
    columns = {name: [_text(value) for value in table.column(name).to_pylist()] for name in names}
    return Table(file=file, columns=columns, numbers=range(1, table.num_rows + 1), unit="row")


def _is_plain(kind: Any) -> bool:
    """Whether values of a type can be written as a text; encoded images, for example, cannot."""
    from pyarrow import types

    tests = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return not any(test(kind) for test in tests)


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)
