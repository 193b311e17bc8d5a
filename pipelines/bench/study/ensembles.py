"""Averages of several side networks of a study, one of each kind and of the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from losa.adapt import load_side_network, stack_side_networks
from losa.cache_format import LosaError
from losa.pipelines.bench.study.correct_images import correct_images
from losa.pipelines.bench.study.protocols import CANDIDATE
from losa.pipelines.bench.study.rows import COSTS, StudyRow
from losa.pipelines.bench.unknown_names import refuse_unknown

JOIN = "+"
"""What joins the kinds in the name of an ensemble."""
_SUMS = ("parameters", "head_parameters", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleRow:
    """An ensemble of members of a study, whose properties are those of a `StudyRow`."""

    members: Sequence[StudyRow]
    """One of each kind, all of one data set, variant and seed."""
    correct: Float[np.ndarray, "images"] | None = field(default=None, compare=False, repr=False)
    """See `StudyRow`; None if a member failed."""

    @property
    def set(self) -> str:
        """Name of the data set."""
        return self.members[0].set

    @property
    def side(self) -> str:
        """Its kinds: ``losa+last``."""
        return JOIN.join(row.side for row in self.members)

    @property
    def variant(self) -> str:
        """That of its members."""
        return self.members[0].variant

    @property
    def seeds(self) -> dict[str, int]:
        """Those of its members."""
        return self.members[0].seeds

    @property
    def split(self) -> str:
        """The split that it was scored on."""
        return self.members[0].split

    @property
    def accuracy(self) -> float | None:
        """Accuracy on that split, a fraction; None if a member failed."""
        return None if self.correct is None else float(np.nanmean(self.correct))

    @property
    def reason(self) -> str:
        """Why it has no scores, in one line; empty if it has some."""
        return next((f"{row.side}: {row.reason}" for row in self.members if row.reason), "")

    @property
    def parameters(self) -> int | None:
        """Parameters of all its members beside their heads; None if one failed."""
        found = [row.parameters for row in self.members if row.parameters is not None]
        return sum(found) if len(found) == len(self.members) else None

    @property
    def options(self) -> dict[str, Any]:
        """None: those of its members differ."""
        return {}

    @property
    def results(self) -> dict[str, Any]:
        """What a `StudyRow` tells, as far as an ensemble has it: sums over its members, and no folder."""
        summaries = [row.summary for row in self.members if row.summary is not None]
        costs: dict[str, Any] = dict.fromkeys(COSTS)
        if self.correct is not None:
            costs |= {name: sum(getattr(each, name) for each in summaries) for name in _SUMS}
        status = "failed" if self.correct is None else "finished"
        return {**costs, "member": None, "status": status, "reason": self.reason, "folder": None}


def parse_ensemble(text: str, sides: Sequence[str]) -> list[str]:
    """The kinds of ``losa,last``.

    Args:
        text: what was typed.
        sides: the side networks of the study.

    Raises:
        LosaError: there are fewer than two, one twice, or one that the study does not train.
    """
    kinds = text.split(",")
    refuse_unknown("--ensemble", kinds, sides)
    if len(set(kinds)) < max(2, len(kinds)):
        raise LosaError(f"--ensemble {text}: expected two or more different side networks")
    return kinds


def ensembles_of(rows: Sequence[StudyRow], kinds: Sequence[str]) -> list[EnsembleRow]:
    """An ensemble for each variant and seed, scored on the split of its members.

    Args:
        rows: members that were trained from one cache, of each kind the same seeds. Candidates are left out.
        kinds: the side networks to average.

    Raises:
        LosaError: the cache or a side network cannot be read.
    """
    groups: dict[tuple[str, tuple[int, ...]], dict[str, StudyRow]] = {}
    for row in rows:
        if row.variant != CANDIDATE:
            groups.setdefault((row.variant, tuple(row.seeds.values())), {})[row.side] = row
    return [_scored([group[kind] for kind in kinds]) for group in groups.values()]


def _scored(members: Sequence[StudyRow]) -> EnsembleRow:
    folders = {row.side: Path(row.summary.folder) for row in members if row.summary is not None}
    if len(folders) < len(members):
        return EnsembleRow(members=members)
    trained = {side: load_side_network(folder) for side, folder in folders.items()}
    (correct,) = correct_images(stack_side_networks(trained, ensemble=True), members[0])
    return EnsembleRow(members=members, correct=correct)
