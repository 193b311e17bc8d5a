"""The progress of members through the epochs of their pass: scores, early stopping, halving, divergence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.members.member_files import BEST, Checkpoint
from losa.adapt.training.member_epoch import MemberEpoch
from losa.cache_format import LosaError


@dataclass
class MemberProgress:
    """The progress of one member."""

    config: AdaptConfig
    train_loss: float = math.nan
    """Mean loss of the last epoch."""
    best_epoch: int | None = None
    """Epoch with the highest accuracy on the validation split."""
    best_accuracy: float = -1.0
    """Accuracy of that epoch; -1 before the first one."""
    last_accuracy: float | None = None
    """Accuracy on the validation split after the last epoch."""
    stopped_after: int | None = None
    """Number of epochs trained, if the member was stopped early."""
    pruned: bool = False
    """Whether successive halving stopped the member."""
    seconds: float = 0.0
    """The member's share of the durations of earlier passes, from which it resumes."""
    pass_seconds: float = 0.0
    """Duration of these passes, for all of their members together."""
    train_seconds: float = 0.0
    """The part of `seconds` that was spent on training."""
    micro_batch_sizes: list[int] = field(default_factory=list)
    """Images that were computed at once in these passes, in turn."""
    best_parameters: dict[str, Tensor] = field(default_factory=dict)
    """Parameters to score instead of those of the last epoch; empty if the last epoch counts."""
    error: LosaError | None = None
    """Why the member failed."""
    diverged: bool = False
    """Whether it failed because it diverged."""

    @property
    def is_training(self) -> bool:
        """Whether the member takes part in the next epoch."""
        return self.error is None and self.stopped_after is None

    def record_epoch(self, result: MemberEpoch) -> None:
        """Record the loss of an epoch; the member fails if it diverged."""
        self.train_loss = result.train_loss
        if not result.finite:
            self.diverge(f"the loss became NaN or infinite in epoch {result.epoch}")

    def record_validation(self, epoch: int, accuracy: float) -> bool:
        """Record the accuracy on the validation split; whether it is the best so far."""
        self.last_accuracy = accuracy
        if accuracy <= self.best_accuracy:
            return False
        self.best_accuracy, self.best_epoch = accuracy, epoch
        return True

    def is_out_of_patience(self, epoch: int) -> bool:
        """Whether the accuracy has not improved for ``patience`` epochs, the given one included."""
        patience, best = self.config.patience, self.best_epoch
        return patience is not None and best is not None and epoch - best >= patience

    def micro_batch_sizes_with(self, sizes: Sequence[int]) -> list[int]:
        """The sizes of micro-batches of earlier passes, followed by those of this one."""
        earlier = self.micro_batch_sizes
        return [*earlier, *(sizes[1:] if earlier and earlier[-1] == sizes[0] else sizes)]

    @property
    def kept_accuracy(self) -> float | None:
        """Accuracy on the validation split of the parameters that are kept; None without such a split."""
        return self.last_accuracy if self.config.patience is None else self.best_accuracy

    def diverge(self, reason: str) -> None:
        """Record that the member diverged; the reason completes the message of its error."""
        self.fail(
            LosaError(
                f"{self.config.member_name}: {reason} (lr={self.config.lr:g}): "
                "use a smaller lr, or a norm (norm=frozen)"
            )
        )
        self.diverged = True

    def fail(self, error: LosaError) -> None:
        """Record an error, with which the member ends."""
        self.error = error

    def to_json(self) -> dict[str, Any]:
        """The progress as it stands in a checkpoint, without the best parameters."""
        return {
            "train_loss": self.train_loss,
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "last_accuracy": self.last_accuracy,
            "stopped_after": self.stopped_after,
            "pruned": self.pruned,
            "seconds": self.seconds,
            "train_seconds": self.train_seconds,
            "pass_seconds": self.pass_seconds,
            "micro_batch_sizes": self.micro_batch_sizes,
            "threads": torch.get_num_threads(),
            "diverged": str(self.error) if self.diverged else None,
        }

    @classmethod
    def from_checkpoint(cls, config: AdaptConfig, checkpoint: Checkpoint) -> "MemberProgress":
        """The progress in a checkpoint."""
        saved = checkpoint.progress
        diverged = saved.get("diverged")
        return cls(
            config,
            train_loss=saved["train_loss"],
            best_epoch=saved["best_epoch"],
            best_accuracy=saved["best_accuracy"],
            stopped_after=saved["stopped_after"],
            pruned=saved["pruned"],
            # The first checkpoints did not have what follows.
            last_accuracy=saved.get("last_accuracy"),
            seconds=saved.get("seconds", 0.0),
            train_seconds=saved.get("train_seconds", 0.0),
            pass_seconds=saved.get("pass_seconds", 0.0),
            micro_batch_sizes=list(saved.get("micro_batch_sizes", [])),
            error=None if diverged is None else LosaError(diverged),
            diverged=diverged is not None,
            best_parameters={
                name.removeprefix(BEST): value
                for name, value in checkpoint.state.items()
                if name.startswith(BEST)
            },
        )


def worse_half(progress: Mapping[int, MemberProgress]) -> list[int]:
    """Numbers of the members that successive halving drops: the worse half of them, rounded down.

    Members are compared by their best accuracy on the validation split.
    """
    best_first = sorted(progress, key=lambda number: progress[number].best_accuracy, reverse=True)
    return best_first[math.ceil(len(best_first) / 2) :]
