"""Which columns of a table hold images, labels and splits: as told, or else by their names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from losa.cache_format.common.fields import is_name
from losa.cache_format.errors import LosaError
from losa.extract.sources.files import ListedPaths
from losa.extract.sources.table_files import Table, is_parquet

_IMAGES = (
    "image",
    "image_path",
    "img",
    "img_path",
    "path",
    "file_path",
    "filepath",
    "file",
    "file_name",
    "filename",
)
_LABELS = ("label", "labels", "class", "class_name", "category", "target", "class_id", "label_id")
_SPLITS = ("split", "subset", "partition")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """The columns that are used."""

    image: str
    labels: dict[str, str]
    """Name of a label column of the cache -> column of the table."""
    split: str | None
    notes: tuple[str, ...]
    """What was chosen without being told, a line each."""


def choose_columns(
    table: Table,
    listed: ListedPaths,
    image: str | None,
    labels: Sequence[str] | None,
    split: str | None,
) -> TableColumns:
    """Choose the columns of a table; those that are not told by name are chosen and noted.

    Raises:
        LosaError: there is no such column, or which one it is cannot be known.
    """
    told = [name for name in (image, split, *(labels or ())) if name is not None]
    for name in told:
        table.column(name)
    chosen_image = image or _image_column(table, listed)
    rest = [name for name in table.columns if name != chosen_image]
    chosen_split = split or next(_usual(rest, _SPLITS), None)
    rest = [name for name in rest if name != chosen_split]
    chosen_labels = list(labels) if labels is not None else _label_columns(table, rest)
    guesses = [
        f"{what} from column {', '.join(map(repr, names))}"
        for what, names, given in (
            ("images", [chosen_image], image),
            ("labels", chosen_labels, labels),
            ("splits", [chosen_split] if chosen_split else [], split),
        )
        if given is None and names
    ]
    return TableColumns(
        image=chosen_image,
        labels=_named(table, chosen_labels),
        split=chosen_split,
        notes=(f"{table.file}: {', '.join(guesses)}",) if guesses else (),
    )


def _image_column(table: Table, listed: ListedPaths) -> str:
    names = list(dict.fromkeys([*_usual(table.columns, _IMAGES), *table.columns]))
    if any(_is_file(name, listed) for name in names):
        raise LosaError(f"{table.file}: the first line has to name the columns, found an image in it")
    for name in names:
        if _is_file(next(filter(None, table.columns[name]), ""), listed):
            return name
    first = ", ".join(f"{name}={table.columns[name][0]!r}" for name in names[:8])
    alone = len(names) == 1 and not is_parquet(table.file)
    separated = (
        " If there are more columns: commas, semicolons or tabs separate them, and tabs in a .tsv file"
    )
    raise LosaError(
        f"{table.file}: no column names files below the root, here is the first row: {first}. Let "
        "dataset.root be the folder in which the paths begin, and say which column has them: "
        f"dataset.image_column=...{separated if alone else ''}"
    )


def _is_file(written: str, listed: ListedPaths) -> bool:
    try:
        return bool(written) and listed.relative(written) in listed.existing
    except LosaError:  # the path of something else, outside of the root
        return False


def _label_columns(table: Table, rest: Sequence[str]) -> list[str]:
    usual = next(_usual(rest, _LABELS), None)
    if usual is not None:
        return [usual]
    rest = [name for name in rest if name and not name.startswith("Unnamed:")]  # pandas' numbers of rows
    if len(rest) > 1:
        raise LosaError(
            f"{table.file}: which of the columns {', '.join(rest)} are labels? "
            f"Say it: dataset.label_columns=[{rest[0]}]"
        )
    return list(rest)


def _usual(names: Iterable[str], usual: Sequence[str]) -> Iterator[str]:
    known = {name.lower(): name for name in names}
    return (known[name] for name in usual if name in known)


def _named(table: Table, columns: Sequence[str]) -> dict[str, str]:
    """Label columns of the cache, whose names become names of files."""
    named: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", column).strip("_.-")
        if not is_name(name) or name in named:
            raise LosaError(
                f"{table.file}: column {column!r} cannot be a label column of a cache, whose name has "
                "letters, digits, '.', '_' and '-' and is its own: rename it"
            )
        named[name] = column
    return named
