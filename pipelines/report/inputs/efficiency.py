"""Folders of `losa-report efficiency`, which have a page of their own."""

from pathlib import Path

from losa.cache_format import LosaError
from losa.pipelines.report.efficiency.names import CSV_NAME, RUNS
from losa.pipelines.report.inputs.rows import read_rows

_COLUMNS = ("method", "trained", "seconds_per_epoch", "seconds_with_extraction")


def refuse_efficiency(folder: Path) -> None:
    """Raise a LosaError if a folder holds costs and no members: a page of members would replace theirs."""
    if read_rows(folder / CSV_NAME, _COLUMNS) is None:
        return
    members = folder / RUNS
    others = f". The members of its --train have a folder: losa-report {members}" if members.is_dir() else ""
    raise LosaError(f"{folder} holds what losa-report efficiency measured, and the page of it{others}")
