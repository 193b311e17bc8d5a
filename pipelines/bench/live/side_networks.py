"""Side networks on the same data sets, from the results that `losa-bench accuracy` wrote."""

import csv
import statistics
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from losa.cache_format import LosaError
from losa.pipelines.bench.study.rows import RESULTS_NAME
from losa.pipelines.cells import Cell

_COLUMNS = ("set", "side", "protocol", "split", "accuracy", "parameters", "seconds")


def read_side_networks(path: Path, sets: Collection[str], split: str) -> list[dict[str, Any]]:
    """The side networks of some data sets that were scored on a split.

    Args:
        path: the ``results.csv`` of a study, with a line for each member.
        sets: names of the data sets.
        split: the split.

    Returns:
        A row for each data set, side network and protocol: ``set``, ``method`` (side network and protocol),
        ``parameters`` (head included), ``percent`` (the fields of a `Cell`, mean and standard error of the
        accuracies) and ``seconds`` (mean share of a member in its pass, without extraction).

    Raises:
        LosaError: the file is missing or another one, has no results for a data set, or a member failed.
    """
    if not path.is_file():
        raise LosaError(f"--compare {path}: there is no such file; losa-bench accuracy writes {RESULTS_NAME}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise LosaError(
                f"--compare {path}: expected the columns of losa-bench accuracy, found none named "
                f"{', '.join(missing)}"
            )
        lines = [line for line in reader if line["set"] in sets and line["split"] == split]
    without = [name for name in sets if name not in {line["set"] for line in lines}]
    if without:
        raise LosaError(
            f"--compare {path}: no results on {split} of {', '.join(without)}: let losa-bench accuracy run "
            "on all data sets, or take fewer here (--set)"
        )
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in lines:
        groups.setdefault((line["set"], f"{line['side']}, {line['protocol']}"), []).append(line)
    return [_row(path, name, method, members) for (name, method), members in groups.items()]


def _row(path: Path, name: str, method: str, members: list[dict[str, str]]) -> dict[str, Any]:
    try:
        cell = Cell.of_seeds([float(member["accuracy"]) for member in members])
        seconds = statistics.fmean(float(member["seconds"]) for member in members)
        parameters = int(members[0]["parameters"])
    except ValueError:  # empty, for a member that failed
        raise LosaError(
            f"--compare {path}: {method} on {name} has a member without results: expected accuracy, seconds "
            "and parameters of each; repeat losa-bench accuracy"
        ) from None
    assert cell is not None, "every member has an accuracy"
    return {
        "set": name,
        "method": method,
        "parameters": parameters,
        "percent": asdict(cell),
        "seconds": seconds,
    }
