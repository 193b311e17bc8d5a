"""results.csv: every member of a sweep, with every number in full."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from losa.cache_format.storage.atomic_writes import publish
from losa.pipelines.result_rows import ResultGroup, scored_splits
from losa.pipelines.shown_options import shown, varying_options

RESULTS_NAME = "results.csv"

_STANDARD = ("side", "rank", "lr", "seed")
"""Options that always have a column."""


def write_results(path: Path, groups: Sequence[ResultGroup]) -> None:
    """Write a line for each member, those of the best configuration first. An older file is replaced whole.

    Columns: ``configuration`` is the place of the configuration, ``mean.<split>`` and
    ``standard_deviation.<split>`` are over its seeds, of which ``seeds`` is the number.
    """
    rows = [row for group in groups for row in group.rows]
    splits = scored_splits(rows)
    options = [name for name in varying_options([row.options for row in rows]) if name not in _STANDARD]
    scores = [f"{score}.{split}" for split in splits for score in ("accuracy", "mean", "standard_deviation")]
    costs = ("parameters", "head_parameters", "train_loss", "seconds")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    named = ["configuration", "member", *_STANDARD, *options, *scores, "seeds", *costs]
    writer.writerow([*named, "status", "reason", "folder"])
    for place, group in enumerate(groups, start=1):
        over_seeds = {split: (group.mean(split), group.deviation(split)) for split in splits}
        for row in group.rows:
            told = [shown(row.options.get(name), short=False) for name in (*_STANDARD, *options)]
            scored = [number for split in splits for number in (row.accuracy.get(split), *over_seeds[split])]
            spent = [getattr(row, name) for name in costs]
            numbers = [place, row.member, *told, *scored, len(group.rows), *spent]
            writer.writerow([*numbers, row.status, row.reason, row.folder])
    publish(path, text.getvalue().encode())
