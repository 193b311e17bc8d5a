"""The members of a study with their results, and the file of all of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from losa.adapt import AdaptConfig, MemberSummary
from losa.adapt.members.summary import Outcome
from losa.cache_format.storage.atomic_writes import make_folder, publish
from losa.pipelines.csv_text import csv_text
from losa.pipelines.shown_options import SEEDS, varying_options

RESULTS_NAME = "results.csv"

COSTS = ("parameters", "head_parameters", "train_loss", "epochs", "seconds")
"""Columns of what a member took."""


@runtime_checkable  # so that beartype can check it while the tests run
class Row(Protocol):
    """A member of a study or an ensemble of members, as tables need it; see `StudyRow`."""

    @property
    def set(self) -> str: ...
    @property
    def side(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def seeds(self) -> dict[str, int]: ...
    @property
    def split(self) -> str: ...
    @property
    def accuracy(self) -> float | None: ...
    @property
    def parameters(self) -> int | None: ...
    @property
    def correct(self) -> Float[np.ndarray, "images"] | None: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def results(self) -> dict[str, Any]: ...


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
    def seeds(self) -> dict[str, int]:
        """Its seeds by their names."""
        return {name: getattr(self.config, name) for name in SEEDS}

    @property
    def split(self) -> str:
        """The split that it was scored on."""
        return self.config.eval_splits[0]

    @property
    def accuracy(self) -> float | None:
        """Accuracy on that split, a fraction; None if the member failed."""
        return None if self.summary is None else self.summary.accuracy[self.split]

    @property
    def parameters(self) -> int | None:
        """Its parameters beside the head, whose number depends on the classes; None if it failed."""
        return None if self.summary is None else self.summary.parameters - self.summary.head_parameters

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

    @property
    def results(self) -> dict[str, Any]:
        """What became of it, as `as_records` lists it; None where a failed one has nothing."""
        summary = self.summary
        return {
            **{name: None if summary is None else getattr(summary, name) for name in COSTS},
            "member": self.config.member_id if summary is None else summary.member,
            "status": "failed" if summary is None else summary.status,
            "reason": self.reason,
            "folder": None if summary is None else summary.folder,
        }


def as_records(rows: Sequence[Row], variant: str) -> list[dict[str, Any]]:
    """A record for each row, with all digits of its numbers; None where a failed one has none.

    ``set``, ``side``, the variant under its own name, ``seed``, ``data_seed``, ``split``, ``accuracy``; the
    options that differ between the rows; ``parameters``, ``head_parameters``, ``train_loss``, ``epochs``,
    ``seconds`` (the member's share of its pass), ``member``, ``status``, ``reason`` and ``folder``.

    Args:
        rows: the members and ensembles.
        variant: name of what tells them apart.
    """
    named = varying_options([row.options for row in rows])
    return [_record(row, variant, named) for row in rows]


def _record(row: Row, variant: str, options: Sequence[str]) -> dict[str, Any]:
    return {
        "set": row.set,
        "side": row.side,
        variant: row.variant,
        **row.seeds,
        "split": row.split,
        "accuracy": row.accuracy,
        **{name: row.options.get(name) for name in options if name != variant},
        **row.results,
    }


def write_rows(folder: Path, rows: Sequence[Row], variant: str) -> None:
    """Write ``results.csv``, a line for each row. An older file is replaced whole.

    Args:
        folder: where it is written; created if missing.
        rows: the members and ensembles, at least one.
        variant: as in `as_records`.
    """
    records = as_records(rows, variant)
    make_folder(folder)
    text = csv_text(records[0], [list(record.values()) for record in records])
    publish(folder / RESULTS_NAME, text.encode())
