"""The results of a trained member, as stored in ``summary.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic_core import to_json

from losa.adapt.side_networks import SideKind, idle_options

_JSON_NAMES = {"shared_pass": "pass"}
"""Names of fields in the file, where they differ: ``pass`` is a keyword of Python."""
_LATER_OPTIONS = {"views": 1, "stop_after": None, "mixing": "auto", "probe_share": 0.0}
"""Options that the first versions did not have, and what members were trained with before they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnScores:
    """Scores of one split in one label column."""

    top1: float
    """Fraction of images whose class has the highest score."""
    top5: float
    """Fraction of images whose class is among the five highest scores."""
    mean_per_class: float
    """Accuracy of each class, averaged over the classes that have images."""
    images: int
    """Number of images that have a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPass:
    """The pass in which a member was trained."""

    members: int
    seconds: float
    """Duration for all members together, scoring and the time before an interruption included."""
    peak_bytes: int | None = None
    """The most memory in use since the last interruption, as `losa.adapt.peak_memory.highest_bytes` counts
    it; None in summaries from before it was written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """The members that successive halving compared. The result of each depends on all of them."""

    members: list[str]
    """Their ids, sorted."""
    failed: list[str]
    """Ids of those that diverged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSummary:
    """Options, scores and costs of a trained member."""

    member: str
    """Id of the member."""
    name: str
    """Name of the member, which its folder has by default."""
    status: Literal["finished", "pruned"]
    """``pruned`` if successive halving dropped the member."""
    side: SideKind
    rank: int | None
    """None for a side network without a rank."""
    lr: float
    """Peak learning rate."""
    seed: int
    """Seed of initialisation and dropout."""
    accuracy: dict[str, float]
    """Accuracy on each scored split, from 0 to 1, averaged over label columns."""
    scores: dict[str, dict[str, ColumnScores]]
    """Scores by split and label column."""
    train_loss: float
    """Mean loss of the last epoch."""
    epochs: int
    """Number of epochs trained."""
    best_epoch: int | None
    """Epoch whose parameters were kept; None without ``patience``."""
    best_val_accuracy: float | None
    """Accuracy on the validation split of the parameters that are saved: those of the best epoch with
    ``patience``, else those of the last one. None without a validation split."""
    parameters: int
    """Number of trained parameters, head included."""
    head_parameters: int
    """Number of trained parameters of the head, and of the probe if there is one."""
    seconds: float
    """The member's share of the duration of its pass, or of all passes if it was interrupted."""
    train_seconds: float
    """The member's share of the time spent on training."""
    shared_pass: SharedPass
    images: dict[str, int]
    """Number of images used of each split."""
    sites: list[str]
    """Names of the sites that it reads."""
    device: str
    """The compute device."""
    residency: str
    """Where the training images were kept: ``gpu``, ``ram`` or ``stream``."""
    options: dict[str, Any]
    """Options of the member, without those that its side network ignores."""
    cache: dict[str, Any]
    """Identity of the cache that the member was trained from."""
    folder: str
    """Folder of the member."""
    company: Company | None = None
    """None without ``halve_at``."""
    micro_batch_sizes: list[int] = field(default_factory=list)
    """Number of images that were computed at once in training: several numbers, in turn, if memory ran out in
    between or the pass was divided; none if an older version of losa trained the member."""
    threads: int | None = None
    """Number of threads that computed on the CPU; None in summaries from before it was written down."""

    def in_order(self, splits: Sequence[str]) -> "MemberSummary":
        """The summary with the scored splits in this order.

        Args:
            splits: names of all scored splits, or of some of them.

        Raises:
            KeyError: a split was not scored.
        """
        if list(self.accuracy) == list(splits):
            return self
        return replace(
            self,
            accuracy={split: self.accuracy[split] for split in splits},
            scores={split: self.scores[split] for split in splits},
        )

    def to_json(self) -> dict[str, Any]:
        """Content of ``summary.json``."""
        return {_JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "MemberSummary":
        """The summary with this content; unknown fields are ignored, and options that came later added.

        Args:
            content: content of ``summary.json``.

        Raises:
            ValueError: fields are missing or invalid.
        """
        named = {name: content[key] for name, key in _KEYS.items() if key in content}
        summary = _ADAPTER.validate_json(to_json(named), strict=True)
        idle = idle_options(summary.side, probe_share=0.0)
        later = {name: value for name, value in _LATER_OPTIONS.items() if name not in idle}
        return replace(summary, options=later | summary.options)


_ADAPTER = TypeAdapter(MemberSummary)
_KEYS = {name: _JSON_NAMES.get(name, name) for name in MemberSummary.__dataclass_fields__}

Outcome = MemberSummary | Exception
"""The summary of a member, or the error that it failed with."""
