"""The members of a sweep with their results, grouped by seeds and ranked."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from losa.adapt import AdaptConfig, MemberSummary
from losa.adapt.config import WHEREABOUTS
from losa.adapt.members.resolution import resolved
from losa.cache_format import LosaError
from losa.pipelines.command_line import to_config
from losa.pipelines.selection import as_candidate
from losa.pipelines.shown_options import SEEDS, shown

_CONFIG = TypeAdapter(AdaptConfig)


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """The results of a member, or the options of a job that failed."""

    options: Mapping[str, Any]
    """Options, without those that have no effect."""
    status: Literal["finished", "pruned", "failed"]
    reason: str = ""
    """Why the job failed, in one line."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    member: str | None = None
    parameters: int | None = None
    head_parameters: int | None = None
    train_loss: float | None = None
    seconds: float | None = None
    folder: str | None = None

    @classmethod
    def from_summary(cls, summary: MemberSummary) -> "ResultRow":
        """The row of a trained member."""
        own = {"side": summary.side, "rank": summary.rank, "lr": summary.lr, "seed": summary.seed}
        return cls(
            options=_with_effect(summary.options)
            | {name: value for name, value in own.items() if value is not None},
            status=summary.status,
            accuracy=summary.accuracy,
            member=summary.member,
            parameters=summary.parameters,
            head_parameters=summary.head_parameters,
            train_loss=summary.train_loss,
            seconds=summary.seconds,
            folder=summary.folder,
        )

    @classmethod
    def from_failed_job(cls, composed: DictConfig, reason: str) -> "ResultRow":
        """The row of a job without a result.

        Args:
            composed: its configuration, with Hydra's part; its options may be invalid.
            reason: the message of its error.
        """
        own = OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])
        folder = Path(composed.hydra.runtime.output_dir)
        # A job with wrong options has no folder of its own.
        exists = folder.is_dir() and folder != Path(composed.hydra.sweep.dir).absolute()
        if exists and folder.is_relative_to(Path.cwd()):
            folder = folder.relative_to(Path.cwd())
        return cls(
            options=_options_of(own),
            status="failed",
            reason=" ".join(reason.removeprefix(f"{folder.name}: ").split()),
            folder=str(folder) if exists else None,
        )

    @property
    def unseeded(self) -> frozenset[tuple[str, str]]:
        """Options that can change the result, except the seeds: those of the configuration."""
        left_out = {*SEEDS, *WHEREABOUTS}
        return frozenset(
            (name, shown(value, short=False)) for name, value in self.options.items() if name not in left_out
        )


def _options_of(composed: DictConfig) -> dict[str, Any]:
    """Options like those in a member's summary; as they are if they are invalid."""
    try:
        config = resolved(as_candidate(to_config(AdaptConfig, composed)))
    except LosaError:
        try:
            options = OmegaConf.to_container(composed, resolve=True)
        except OmegaConfBaseException:  # ${...} refers to nothing
            options = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(options, dict)
        for name in ("rank", "pool", "start", "dropout", "probe_share"):
            if options.get(name) == "auto":  # members have what it stands for
                del options[name]
        return {str(name): value for name, value in options.items()}
    return _with_effect(asdict(config))


def _with_effect(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that have no effect on the member."""
    try:
        # From JSON: only there does strict mode accept a mapping for a dataclass.
        idle = _CONFIG.validate_json(json.dumps(options)).idle_options
    except ValidationError:  # of another version of losa
        return dict(options)
    return {name: value for name, value in options.items() if name not in idle}


@dataclass(frozen=True)
class ResultGroup:
    """Members that differ only in their seeds: one configuration."""

    rows: Sequence[ResultRow]

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the first member."""
        return self.rows[0].options

    @property
    def is_complete(self) -> bool:
        """Whether no seed failed or was pruned: a mean over only those that did well is too good."""
        return all(row.status == "finished" for row in self.rows)

    def scores(self, split: str) -> list[float]:
        """Accuracy on a split, once for each seed that was scored on it."""
        by_seed = {
            tuple(row.options.get(name) for name in SEEDS): row.accuracy[split]
            for row in self.rows
            if split in row.accuracy
        }
        return list(by_seed.values())

    def mean(self, split: str) -> float | None:
        """Mean accuracy on a split; None if no member was scored on it."""
        scores = self.scores(split)
        # Rounded so that means of equal scores are equal.
        return round(statistics.fmean(scores), 12) if scores else None

    def deviation(self, split: str) -> float | None:
        """Standard deviation (n - 1) of the accuracy on a split; None for less than two seeds."""
        scores = self.scores(split)
        return statistics.stdev(scores) if len(scores) > 1 else None


def scored_splits(rows: Sequence[ResultRow]) -> list[str]:
    """Names of all splits that were scored, the first one first."""
    return list(dict.fromkeys(name for row in rows for name in row.accuracy))


def ranked(rows: Sequence[ResultRow]) -> list[ResultGroup]:
    """The configurations, best first by their mean accuracy on the first scored split, then on the others.

    Those that were not scored on it come later, and those that are incomplete after all others.
    """
    groups: dict[frozenset[tuple[str, str]], list[ResultRow]] = {}
    for row in rows:
        groups.setdefault(row.unseeded, []).append(row)
    splits = scored_splits(rows)

    def place(group: ResultGroup) -> tuple[bool, list[float]]:
        means = [group.mean(split) for split in splits]
        return not group.is_complete, [1.0 if mean is None else -mean for mean in means]

    return sorted(map(ResultGroup, groups.values()), key=place)
