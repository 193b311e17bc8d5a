"""The computation of a step: the gradients of a batch, in micro-batches, and the update of all members."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.data.activations import Batch
from losa.adapt.data.reused_memory import ReusedMemory
from losa.adapt.streams import FrozenFeatures
from losa.adapt.training.epoch_inputs import StepInputs
from losa.adapt.training.losses import Objective
from losa.adapt.training.member_group import MemberGroup

Result = tuple[Float[Tensor, "members"], Float[Tensor, "members"]]
"""For each member its loss, and how many labels it predicts correctly."""


@dataclass(frozen=True, slots=True)
class MicroBatchMemory:
    """Memory for the activations of a micro-batch, which the next micro-batch uses again."""

    images: ReusedMemory = field(default_factory=ReusedMemory)
    partners: ReusedMemory = field(default_factory=ReusedMemory)
    """For the activations that mixup adds to those of the images."""
    mixed: ReusedMemory = field(default_factory=ReusedMemory)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepComputation:
    """Computes steps of the members of a pass. It copies nothing to the device and reads nothing from it."""

    groups: Sequence[MemberGroup]
    objective: Objective
    dtype: torch.dtype
    """The dtype of matrix products."""
    sites: tuple[str, ...]
    """Names along the sites axis of the activations."""

    def gradients(self, batch: Batch, inputs: StepInputs, at_once: int, memory: MicroBatchMemory) -> Result:
        """Compute the gradients of one batch.

        Args:
            batch: the activations.
            inputs: what the step needs beside them.
            at_once: number of images of a micro-batch; the gradients of all micro-batches are added up.
            memory: memory for a micro-batch.
        """
        for group in self.groups:
            group.optimizer.zero_grad()
        objective, labels, mix = self.objective, inputs.labels, inputs.mix
        members = sum(len(group.numbers) for group in self.groups)
        losses, correct = torch.zeros(2, members, device=labels.device)
        weights = objective.weights(labels)
        mixed_weights = weights if mix is None else objective.weights(labels[mix.partner])
        for start in range(0, len(batch), at_once):
            images = slice(start, start + at_once)
            activations = batch.decode(images, memory.images)
            if mix is not None:
                # Not in place: decoded float32 activations may share memory with their codes.
                activations = torch.lerp(
                    batch.decode(mix.partner[images], memory.partners),
                    activations,
                    mix.shares[0].to(activations.dtype),
                    out=memory.mixed.empty(activations.shape, activations.device),
                )
            features = FrozenFeatures(activations, self.dtype, self.sites)
            place = 0
            for group, keys in zip(self.groups, inputs.dropout_keys, strict=True):
                own = slice(place, place + len(group.numbers))
                place = own.stop
                network = group.network
                branches = network.branches(features, group.dropout(inputs.step, start, keys))
                branch_losses = []
                for scores in branches:
                    loss = objective.losses(scores, labels[images], weights[images], group.smoothing)
                    if mix is not None:
                        partners = labels[mix.partner[images]]
                        other = objective.losses(scores, partners, mixed_weights[images], group.smoothing)
                        share, rest = mix.shares.to(loss.dtype)
                        loss = share * loss + rest * other
                    branch_losses.append(loss)
                # Sums keep members and branches apart: no parameter of one appears in the loss of another.
                torch.autograd.backward([each.sum() for each in branch_losses])
                losses[own] += network.mean_of_branches([each.detach() for each in branch_losses])
                scores = network.mean_of_branches([each.detach() for each in branches])
                for column, predicted in zip(labels[images].T, objective.split(scores), strict=True):
                    correct[own] += (predicted.argmax(dim=-1) == column).sum(dim=-1)
        return losses, correct

    def update(self, inputs: StepInputs) -> None:
        """Update all members by the gradients."""
        for group, numbers in zip(self.groups, inputs.numbers, strict=True):
            group.optimizer.step(numbers)
