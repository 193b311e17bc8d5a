"""What the steps of an epoch need beside activations, copied to the compute device for many steps at once.

A step then waits for nothing: it copies nothing from this machine, and reads nothing from the device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from losa.adapt.config import AdaptConfig
from losa.adapt.data.mixup import Mix, draw_mix
from losa.adapt.training.member_group import MemberGroup
from losa.cache_format.common.device import to_device

STEPS_AT_ONCE = 64
"""Steps whose inputs are computed and copied at once. Those of a long epoch of many members take gigabytes,
and the first step would wait for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMix:
    """A `Mix` on the compute device."""

    partner: Int64[Tensor, "images"]
    """See `Mix`."""
    shares: Float64[Tensor, "two"]
    """Weights of the image itself and of its partner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    """What one step needs beside activations, on the compute device."""

    step: int
    """Number of the step in the whole training, from 0."""
    labels: Int64[Tensor, "images columns"]
    mix: DeviceMix | None
    numbers: tuple[Float64[Tensor, "numbers members"], ...]
    """For each group what its optimiser needs; see `MemberOptimizer.numbers`."""
    dropout_keys: tuple[Int64[Tensor, "places members"] | None, ...]
    """For each group its keys of dropout at the places met so far; see `DropoutKeys.of_step`."""

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors."""
        mixed = [] if self.mix is None else [self.mix.partner, self.mix.shares]
        return [self.labels, *mixed, *self.numbers, *(keys for keys in self.dropout_keys if keys is not None)]

    def copy(self) -> "StepInputs":
        """The same inputs in memory of their own."""
        mix = self.mix
        return StepInputs(
            step=self.step,
            labels=self.labels.clone(),
            mix=None if mix is None else DeviceMix(partner=mix.partner.clone(), shares=mix.shares.clone()),
            numbers=tuple(each.clone() for each in self.numbers),
            dropout_keys=tuple(None if keys is None else keys.clone() for keys in self.dropout_keys),
        )


class EpochInputs:
    """Yields the inputs of each step of an epoch, or of the rest of it, in order."""

    def __init__(
        self,
        groups: Sequence[MemberGroup],
        labels: Int64[np.ndarray, "images columns"],
        batches: Sequence[Int64[np.ndarray, "_"]],
        config: AdaptConfig,
        *,
        first_step: int,
        all_steps: int,
        device: str,
    ) -> None:
        """Compute nothing yet.

        Args:
            groups: the members.
            labels: labels of the training images.
            batches: rows of the images of each step.
            config: configuration of any member, for the options that members share.
            first_step: number of the first of the steps in the whole training, from 0.
            all_steps: number of steps of the whole training.
            device: the compute device.
        """
        self._groups = groups
        self._labels = labels
        self._batches = batches
        self._config = config
        self._steps = range(first_step, first_step + len(batches))
        self._all_steps = all_steps
        self._device = device

    def __iter__(self) -> Iterator[StepInputs]:
        """The inputs of each step."""
        for first in range(0, len(self._batches), STEPS_AT_ONCE):
            several = slice(first, first + STEPS_AT_ONCE)
            yield from self._copied_at_once(self._batches[several], self._steps[several])

    def _copied_at_once(
        self, batches: Sequence[Int64[np.ndarray, "_"]], steps: range
    ) -> Iterator[StepInputs]:
        sizes = [len(rows) for rows in batches]
        chosen = torch.from_numpy(self._labels[np.concatenate(batches)])
        labels = to_device(chosen, self._device).split(sizes)
        numbers = [group.numbers_of(steps, self._all_steps) for group in self._groups]
        for group in self._groups:
            if group.dropout_keys is not None:
                group.dropout_keys.begin(steps)
        mixup, seed = self._config.mixup, self._config.data_seed
        drawn = [draw_mix(size, mixup, seed, step) for size, step in zip(sizes, steps, strict=True)]
        mixes = _copied([mix for mix in drawn if mix is not None], self._device) or [None] * len(drawn)
        for place, step in enumerate(steps):
            yield StepInputs(
                step=step,
                labels=labels[place],
                mix=mixes[place],
                numbers=tuple(each[place] for each in numbers),
                dropout_keys=tuple(
                    None if group.dropout_keys is None else group.dropout_keys.of_step(step)
                    for group in self._groups
                ),
            )


def _copied(mixes: Sequence[Mix], device: str) -> list[DeviceMix | None]:
    if not mixes:
        return []
    partners = to_device(torch.from_numpy(np.concatenate([mix.partner for mix in mixes])), device)
    shares = torch.tensor([(mix.share, 1 - mix.share) for mix in mixes], dtype=torch.float64)
    return [
        DeviceMix(partner=partner, shares=both)
        for partner, both in zip(
            partners.split([len(mix.partner) for mix in mixes]), to_device(shares, device), strict=True
        )
    ]
