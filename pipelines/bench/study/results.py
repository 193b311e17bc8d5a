"""The files and the failures of a study."""

from collections.abc import Sequence
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import publish
from losa.pipelines.bench.study.rows import RESULTS_NAME, Row, StudyRow, write_rows
from losa.pipelines.bench.study.settings import StudySettings
from losa.pipelines.text_table import TextTable, markdown_of

TABLE_NAME = "table.md"


def results_folder(settings: StudySettings, study: str) -> Path:
    """The folder of a study's results: those of ``--validate`` never replace those on the test split."""
    return Path(settings.out) / (f"{study}-validate" if settings.validate else study)


def write_results(folder: Path, rows: Sequence[Row], variant: str, tables: Sequence[TextTable]) -> None:
    """Write ``results.csv`` and ``table.md``. Older files are replaced whole.

    Args:
        folder: where they are written; created if missing.
        rows: the members and ensembles, at least one.
        variant: as in `as_records`.
        tables: what is said of them.
    """
    write_rows(folder, rows, variant)
    publish(folder / TABLE_NAME, markdown_of(tables).encode())


def refuse_failures(folder: Path, rows: Sequence[StudyRow]) -> None:
    """Raise a LosaError if members failed; their cells are empty in the tables."""
    failed = [row for row in rows if row.reason]
    if failed:
        raise LosaError(
            f"{len(failed)} of {len(rows)} members failed, the first of them ({failed[0].set}, "
            f"{failed[0].side}, {failed[0].variant}): {failed[0].reason}\n"
            f"{folder / RESULTS_NAME} has the reason of each. The same command tries again those that did "
            "not diverge"
        )
