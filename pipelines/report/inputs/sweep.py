"""Members that losa-adapt trained: a sweep with its results.csv, or any folder of members."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from losa.adapt import MemberSummary
from losa.adapt.config import WHEREABOUTS
from losa.pipelines.report.inputs.contract import Member
from losa.pipelines.report.inputs.rows import read_rows
from losa.pipelines.report.inputs.summaries import costs, found_folder, read_summary, summaries_below
from losa.pipelines.result_rows import ResultRow
from losa.pipelines.results_file import RESULTS_NAME
from losa.pipelines.shown_options import SEEDS, shown

_COLUMNS = ("configuration", "side", "seed", "status", "reason", "folder")
_NO_OPTIONS = {
    *_COLUMNS,
    *SEEDS,
    *WHEREABOUTS,
    "protocol",
    "eval_split",
    "member",
    "seeds",
    "parameters",
    "head_parameters",
    "train_loss",
    "seconds",
}
_SCORES = ("accuracy.", "mean.", "standard_deviation.")
_OF_THE_TASK = ("cache", "label")


def read_sweep(folder: Path) -> Sequence[Member] | None:
    """The members that ``results.csv`` lists, failed ones among them, or all that have a summary.

    See `Reader`. Of members whose folders are gone, nothing is told but that they are.
    """
    path = folder / RESULTS_NAME
    rows = read_rows(path, _COLUMNS)
    if rows is None:
        return [_trained(summary, found) for found, summary in summaries_below(folder)] or None
    trained: list[tuple[dict[str, str], Member]] = []
    others: list[dict[str, str]] = []
    for row in rows:
        place = found_folder(row["folder"], folder)
        summary = None if place is None else read_summary(place)
        if place is None or summary is None:
            others.append(row)
        else:
            trained.append((row, _trained(summary, place)))
    return [*(member for _, member in trained), *(_untrained(row, trained) for row in others)]


def _trained(summary: MemberSummary, folder: Path) -> Member:
    row = ResultRow.from_summary(summary)
    label = row.options.get("label", "label")
    dataset = str(summary.cache.get("dataset", summary.cache.get("path", "")))
    # Members that differ only in what they were scored on are the same training.
    left_out = {*SEEDS, *WHEREABOUTS, "side", "label", "protocol", "eval_split"}
    return Member(
        task=dataset if label == "label" else f"{dataset}, {shown(label)}",
        kind=summary.side,
        options={name: shown(value) for name, value in row.options.items() if name not in left_out},
        seeds=_seeds(row.options),
        accuracy=summary.accuracy,
        status=summary.status,
        parameters=summary.parameters,
        seconds=summary.seconds,
        folder=folder,
        **costs(summary),
    )


def _untrained(row: Mapping[str, str], trained: Sequence[tuple[Mapping[str, str], Member]]) -> Member:
    """A member without files: its options are those of its configuration, as far as others tell them."""
    alike = [member for other, member in trained if other["configuration"] == row["configuration"]]
    same_task = [
        member for other, member in trained if all(other.get(name) == row.get(name) for name in _OF_THE_TASK)
    ]
    told = {
        name: text
        for name, text in row.items()
        if name not in _NO_OPTIONS and not name.startswith(_SCORES) and text
    }
    failed = row["status"] == "failed"
    member = Member(
        task=same_task[0].task if same_task else row.get("cache") or "(nothing was trained)",
        kind=row["side"],
        options=alike[0].options if alike else told,
        seeds=_seeds(row),
        status="failed",
        reason=row["reason"] if failed else f"{row['folder']}: its files are gone",
    )
    return replace(member, rank=int(row["rank"])) if row.get("rank", "").isdigit() else member


def _seeds(options: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(text for name in SEEDS if (text := shown(options.get(name))))
