"""What an epoch has made of one member."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEpoch:
    """Losses and accuracy of one member in one epoch."""

    epoch: int
    """Number of the epoch, from 0."""
    lr: float
    """Learning rate at the last step."""
    step_losses: Float[np.ndarray, "steps"]
    """Loss at each step."""
    train_accuracy: float
    """Accuracy over the batches of the epoch, from 0 to 1, each scored before its update, averaged over label
    columns. NaN with mixup, because a mixed image has no single label."""

    @property
    def train_loss(self) -> float:
        """Mean loss over the steps."""
        return float(self.step_losses.mean())

    @property
    def finite(self) -> bool:
        """Whether no loss was NaN or infinite."""
        return bool(np.isfinite(self.step_losses).all())
