"""The members of a study with their results, and the file of all of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from losa.adapt import AdaptConfig, MemberSummary
from losa.adapt.members.summary import Outcome
from losa.cache_format.storage.atomic_writes import make_folder, publish
from losa.pipelines.csv_text import csv_text
from losa.pipelines.shown_options import SEEDS, varying_options

RESULTS_NAME = "results.csv"

_COSTS = ("parameters", "head_parameters", "train_loss", "epochs", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A member of a study, and what became of it."""

    set: str
    """Name of the data set."""
    side: str
    variant: str
    """What tells the member from others of its side network on this set, but for the seeds."""
    config: AdaptConfig
    outcome: Outcome
    correct: Float[np.ndarray, "images"] | None = field(default=None, compare=False, repr=False)
    """For each valid image of the split the part of its labels that the member predicts, NaN if it has none;
    None if it failed or nobody has looked."""

    @property
    def summary(self) -> MemberSummary | None:
        """Its results; None if it failed."""
        return None if isinstance(self.outcome, Exception) else self.outcome

    @property
    def split(self) -> str:
        """The split that it was scored on."""
        return self.config.eval_splits[0]

    @property
    def accuracy(self) -> float | None:
        """Accuracy on that split, a fraction; None if the member failed."""
        return None if self.summary is None else self.summary.accuracy[self.split]

    @property
    def reason(self) -> str:
        """Why it failed, in one line; empty if it did not."""
        if not isinstance(self.outcome, Exception):
            return ""
        return " ".join(str(self.outcome).split()) or type(self.outcome).__name__

    @property
    def options(self) -> dict[str, Any]:
        """Its options, without those that have no effect on it and those of its place in the study."""
        left_out = {*self.config.idle_options, *SEEDS, "cache", "side", "train_split", "eval_split"}
        return {name: value for name, value in asdict(self.config).items() if name not in left_out}


def as_records(rows: Sequence[StudyRow], variant: str) -> list[dict[str, Any]]:
    """A record for each member, with all digits of its numbers; None where a failed one has none.

    ``set``, ``side``, the variant under its own name, ``seed``, ``data_seed``, ``split``, ``accuracy``; the
    options that differ between the rows; ``parameters``, ``head_parameters``, ``train_loss``, ``epochs``,
    ``seconds`` (the member's share of its pass), ``member``, ``status``, ``reason`` and ``folder``.

    Args:
        rows: the members.
        variant: name of what tells them apart.
    """
    named = varying_options([row.options for row in rows])
    return [_record(row, variant, named) for row in rows]


def _record(row: StudyRow, variant: str, options: Sequence[str]) -> dict[str, Any]:
    summary = row.summary
    return {
        "set": row.set,
        "side": row.side,
        variant: row.variant,
        "seed": row.config.seed,
        "data_seed": row.config.data_seed,
        "split": row.split,
        "accuracy": row.accuracy,
        **{name: row.options.get(name) for name in options if name != variant},
        **{name: None if summary is None else getattr(summary, name) for name in _COSTS},
        "member": row.config.member_id if summary is None else summary.member,
        "status": "failed" if summary is None else summary.status,
        "reason": row.reason,
        "folder": None if summary is None else summary.folder,
    }


def write_rows(folder: Path, rows: Sequence[StudyRow], variant: str) -> None:
    """Write ``results.csv``, a line for each member. An older file is replaced whole.

    Args:
        folder: where it is written; created if missing.
        rows: the members, at least one.
        variant: as in `as_records`.
    """
    records = as_records(rows, variant)
    make_folder(folder)
    text = csv_text(records[0], [list(record.values()) for record in records])
    publish(folder / RESULTS_NAME, text.encode())
