"""Final members of a benchmark of several tasks: losa-vtab1k, and losa-fgvc."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from losa.cache_format import LosaError
from losa.pipelines.report.inputs.contract import Member
from losa.pipelines.report.inputs.rows import number_in, read_rows
from losa.pipelines.report.inputs.summaries import costs, found_folder, read_summary

_CSV, _JSON = "results.csv", "results.json"
_COLUMNS = ("task", "line", "seed", "accuracy", "test_images", "parameters", "folder")
_SPLIT = "test"
"""What final members are scored on."""


def read_suite(folder: Path) -> Sequence[Member] | None:
    """The final members of every task, and a failed one for each error of a task; see `Reader`.

    A configuration is a line of the suite's table: what was chosen for it differs between tasks.
    """
    path = folder / _CSV
    rows = read_rows(path, _COLUMNS)
    if rows is None:
        return None
    return [*(_member(path, row) for row in rows), *_failures(folder / _JSON)]


def _member(path: Path, row: dict[str, str]) -> Member:
    accuracy = number_in(path, row, "accuracy")
    parameters = number_in(path, row, "parameters")
    place = found_folder(row["folder"], path.parent)
    summary = None if place is None else read_summary(place)
    return Member(
        task=row["task"],
        kind=row["line"],
        options={},
        seeds=(row["seed"],),
        accuracy={} if accuracy is None else {_SPLIT: accuracy},
        parameters=None if parameters is None else int(parameters),
        seconds=None if summary is None else summary.seconds,
        folder=place,
        **costs(summary),
    )


def _failures(path: Path) -> Iterator[Member]:
    try:
        content = json.loads(path.read_bytes())
        for task in content["tasks"]:
            for reason in task["failures"]:
                yield Member(
                    task=task["task"],
                    kind="(the task)",
                    options={},
                    status="failed",
                    reason=" ".join(reason.split()),
                )
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LosaError(f"{path} is damaged; the command that wrote it writes it again") from None
