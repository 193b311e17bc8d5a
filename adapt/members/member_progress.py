"""The progress of members through the epochs of their pass: scores, early stopping, halving, divergence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.members.member_files import BEST, Checkpoint
from losa.adapt.training.trainer import MemberEpoch
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
    stopped_after: int | None = None
    """Number of epochs trained, if the member was stopped early."""
    pruned: bool = False
    """Whether successive halving stopped the member."""
    seconds: float = 0.0
    """The member's share of the durations of earlier passes, from which it resumes."""
    pass_seconds: float = 0.0
    """Duration of these passes, for all of their members together."""
    best_parameters: dict[str, Tensor] = field(default_factory=dict)
    """Parameters to score instead of those of the last epoch; empty if the last epoch counts."""
    error: LosaError | None = None
    """Why the member failed."""

    @property
    def is_training(self) -> bool:
        """Whether the member takes part in the next epoch."""
        return self.error is None and self.stopped_after is None

    def record_epoch(self, result: MemberEpoch) -> None:
        """Record the loss of an epoch; the member fails if it diverged."""
        self.train_loss = result.train_loss
        if not result.finite:
            self.fail(f"the loss became NaN or infinite in epoch {result.epoch}")

    def record_validation(self, epoch: int, accuracy: float) -> bool:
        """Record the accuracy on the validation split; whether it is the best so far."""
        if accuracy <= self.best_accuracy:
            return False
        self.best_accuracy, self.best_epoch = accuracy, epoch
        return True

    def is_out_of_patience(self, epoch: int) -> bool:
        """Whether the accuracy has not improved for ``patience`` epochs, the given one included."""
        patience, best = self.config.patience, self.best_epoch
        return patience is not None and best is not None and epoch - best >= patience

    def fail(self, reason: str) -> None:
        """Record that the member diverged; the reason completes the message of its error."""
        self.error = LosaError(
            f"{self.config.member_name}: {reason} (lr={self.config.lr:g}): "
            "use a smaller lr, or a norm (norm=frozen)"
        )

    def make_checkpoint(
        self, epoch: int, state: Mapping[str, Tensor], *, pass_seconds: float, members: int
    ) -> Checkpoint:
        """The checkpoint after some epochs.

        Args:
            epoch: number of epochs done.
            state: parameters and optimiser state; empty for a member that was stopped.
            pass_seconds: duration of the pass so far.
            members: number of members of the pass.
        """
        return Checkpoint(
            epoch=epoch,
            progress={
                "train_loss": self.train_loss,
                "best_epoch": self.best_epoch,
                "best_accuracy": self.best_accuracy,
                "stopped_after": self.stopped_after,
                "pruned": self.pruned,
                "seconds": self.seconds + pass_seconds / members,
                "pass_seconds": self.pass_seconds + pass_seconds,
                "threads": torch.get_num_threads(),
            },
            state={**state, **{f"{BEST}{name}": value for name, value in self.best_parameters.items()}},
        )

    @classmethod
    def from_checkpoint(cls, config: AdaptConfig, checkpoint: Checkpoint) -> "MemberProgress":
        """The progress that `make_checkpoint` saved."""
        saved = checkpoint.progress
        return cls(
            config,
            train_loss=saved["train_loss"],
            best_epoch=saved["best_epoch"],
            best_accuracy=saved["best_accuracy"],
            stopped_after=saved["stopped_after"],
            pruned=saved["pruned"],
            seconds=saved.get("seconds", 0.0),  # the first checkpoints did not count them
            pass_seconds=saved.get("pass_seconds", 0.0),
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
