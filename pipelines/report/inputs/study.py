"""Members of the studies of losa-bench: accuracy, and ablations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from losa.cache_format import LosaError
from losa.pipelines.bench.study.protocols import PROTOCOL, SELECTED
from losa.pipelines.bench.study.rows import RESULTS_NAME
from losa.pipelines.report.inputs.contract import Member
from losa.pipelines.report.inputs.rows import number_in, read_rows
from losa.pipelines.report.inputs.summaries import costs, found_folder, read_summary
from losa.pipelines.shown_options import SEEDS

_COLUMNS = ("set", "side", *SEEDS, "split", "accuracy", "parameters", "seconds", "status", "reason", "folder")
_NO_OPTIONS = {*_COLUMNS, "head_parameters", "train_loss", "epochs", "member"}
_STATUS = ("finished", "pruned", "failed")


def read_study(folder: Path) -> Sequence[Member] | None:
    """The members of a study; see `Reader`."""
    path = folder / RESULTS_NAME
    rows = read_rows(path, _COLUMNS)
    return None if rows is None else [_member(path, row) for row in rows]


def _member(path: Path, row: dict[str, str]) -> Member:
    if row["status"] not in _STATUS:
        raise LosaError(f"{path}: expected a status of {', '.join(_STATUS)}, found {row['status']!r}")
    accuracy = number_in(path, row, "accuracy")
    parameters = number_in(path, row, "parameters")
    place = found_folder(row["folder"], path.parent)
    options = {name: text for name, text in row.items() if name not in _NO_OPTIONS and text}
    if options.get(PROTOCOL) == SELECTED:
        # What was chosen differs between data sets, and is one configuration all the same.
        options = {PROTOCOL: SELECTED}
    return Member(
        task=row["set"],
        kind=row["side"],
        options=options,
        seeds=tuple(row[name] for name in SEEDS),
        accuracy={} if accuracy is None else {row["split"]: accuracy},
        status=cast(Literal["finished", "pruned", "failed"], row["status"]),
        reason=row["reason"],
        parameters=None if parameters is None else int(parameters),
        seconds=number_in(path, row, "seconds"),
        folder=place,
        **costs(None if place is None else read_summary(place)),
    )
