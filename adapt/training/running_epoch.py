"""An epoch that is under way: what its steps have added up so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LOSSES, CORRECT = "epoch.losses", "epoch.correct"
"""Names of a member's sums in its state."""


@dataclass
class RunningEpoch:
    """Sums over the steps of an epoch, for all members that are trained."""

    number: int
    """Number of the epoch, from 0."""
    steps: int
    """Number of steps done."""
    losses: Float[Tensor, "members all_steps"]
    """Loss at each step; zero where a step is still to be done."""
    correct: Float[Tensor, "members"]
    """Number of labels predicted correctly."""

    @classmethod
    def start(cls, number: int, members: int, all_steps: int, device: str) -> "RunningEpoch":
        """An epoch before its first step."""
        losses = torch.zeros(members, all_steps, device=device)
        return cls(number, 0, losses, torch.zeros(members, device=device))

    @classmethod
    def resume(
        cls, number: int, states: Sequence[Mapping[str, Tensor]], all_steps: int, device: str
    ) -> "RunningEpoch":
        """An epoch with the sums that `member_state` returned.

        Args:
            number: number of the epoch.
            states: the sums of each member, after the same number of steps.
            all_steps: number of steps of the epoch.
            device: the compute device.
        """
        running = cls.start(number, len(states), all_steps, device)
        for place, state in enumerate(states):
            running.steps = len(state[LOSSES])
            running.losses[place, : running.steps] = state[LOSSES]
            running.correct[place] = state[CORRECT]
        return running

    def add(self, losses: Float[Tensor, "members"], correct: Float[Tensor, "members"]) -> None:
        """Add a step."""
        self.losses[:, self.steps] = losses
        self.correct += correct
        self.steps += 1

    def keep(self, places: Sequence[int]) -> None:
        """Continue with the members at these places."""
        self.losses, self.correct = self.losses[list(places)], self.correct[list(places)]

    def member_state(self, place: int) -> dict[str, Tensor]:
        """The sums of one member, by name; views, not copies."""
        return {LOSSES: self.losses[place, : self.steps], CORRECT: self.correct[place]}
