"""Optimisers with a learning rate, weight decay and momentum for each member.

The updates are those of ``torch.optim.AdamW`` and ``torch.optim.SGD``, with a leading members axis. What
depends on the number of the step is an argument that lies on the compute device: an update that is recorded
once (`losa.adapt.training.recorded_steps`) is right for every step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from losa.adapt.config import AdaptConfig
from losa.cache_format.common.device import to_device

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8


class MemberOptimizer(ABC):
    """Updates parameters ``(members, ...)`` in place. Weight decay skips biases and norms.

    The parameters become views of one matrix ``(members, numbers)``, a row for each member, and so does each
    tensor of state: an update is a few operations, however many parameters there are.
    """

    slots: tuple[str, ...]
    """Names of the tensors of state."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> None:
        """Join the parameters, and remember nothing yet.

        Args:
            parameters: parameters by name; biases and norms are recognised by their names.
            configs: configuration of each member.
        """
        self.parameters = dict(parameters)
        self._device = next(iter(self.parameters.values())).device
        # In float64, as torch's own optimisers, whose rates are Python numbers.
        momentum = torch.tensor([config.momentum for config in configs], dtype=torch.float64)
        self._momentum = to_device(momentum, self._device)
        self._joined = self._join()
        self.state = {slot: torch.zeros_like(self._joined) for slot in self.slots}

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def numbers(
        self, first_step: int, lr: Sequence[Sequence[float]], weight_decay: Sequence[float]
    ) -> Float64[Tensor, "steps numbers members"]:
        """The numbers that `step` needs for some steps, computed on this machine and copied at once.

        Args:
            first_step: number of the first of the steps, from 0.
            lr: learning rate of each member at each step, ``(steps, members)``.
            weight_decay: weight decay of each member.
        """
        decays = np.asarray(weight_decay, np.float64)
        rates = np.asarray(lr, np.float64)
        steps = first_step + np.arange(1, len(rates) + 1)
        return to_device(torch.from_numpy(self._numbers(steps, rates, decays)), self._device)

    @torch.no_grad()
    def step(self, numbers: Float64[Tensor, "numbers members"]) -> None:
        """Update the parameters by their gradients; one that has none is taken to have zeros.

        Args:
            numbers: those of the step; see `numbers`.
        """
        ordered = [self.parameters[name] for name in self._columns]
        grads = torch.cat(
            [_rows(torch.zeros_like(each) if each.grad is None else each.grad) for each in ordered], dim=1
        )
        self._update(grads, *numbers.to(grads.dtype)[..., None].unbind())

    def keep(self, members: Sequence[int], parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep only some members.

        Args:
            members: positions of the members to keep, in their new order.
            parameters: their parameters by name.
        """
        self.parameters = dict(parameters)
        chosen = to_device(torch.tensor(list(members)), self._device)
        self._momentum = self._momentum[chosen]
        self._joined = self._join()
        self.state = {slot: values[chosen] for slot, values in self.state.items()}

    def member_state(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of the state of each parameter, in its shape ``(members, ...)``; views."""
        for slot, values in self.state.items():
            for name, value in self._split(values).items():
                yield f"{slot}.{name}", value

    @torch.no_grad()
    def _join(self) -> Float[Tensor, "members numbers"]:
        """Copy the parameters into one matrix and make them views of it, first those that decay."""
        ordered = sorted(self.parameters, key=skips_weight_decay)
        ends = list(accumulate((self.parameters[name][0].numel() for name in ordered), initial=0))
        self._columns = {name: slice(*each) for name, each in zip(ordered, pairwise(ends), strict=True)}
        self._decaying = slice(ends[sum(not skips_weight_decay(name) for name in ordered)])
        joined = torch.cat([_rows(self.parameters[name]) for name in ordered], dim=1)
        for name, value in self._split(joined).items():
            self.parameters[name].data = value
        return joined

    def _split(self, joined: Float[Tensor, "members numbers"]) -> dict[str, Tensor]:
        """For each parameter the columns of a matrix that are its own, in its shape."""
        return {
            name: joined[:, self._columns[name]].view(parameter.shape)
            for name, parameter in self.parameters.items()
        }

    @abstractmethod
    def _numbers(
        self, steps: np.ndarray, lr: np.ndarray, weight_decay: np.ndarray
    ) -> Float64[np.ndarray, "steps numbers members"]:
        """The numbers that `_update` takes.

        Args:
            steps: number of each step, from 1.
            lr: ``(steps, members)``.
            weight_decay: ``(members,)``.
        """

    @abstractmethod
    def _update(self, grads: Float[Tensor, "members numbers"], *numbers: Float[Tensor, "members 1"]) -> None:
        """Update the joined parameters.

        Args:
            grads: their gradients, whose memory may be used.
            numbers: those of the step, each in the dtype of the parameters.
        """


class AdamW(MemberOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    slots = ("mean", "square")

    def _numbers(
        self, steps: np.ndarray, lr: np.ndarray, weight_decay: np.ndarray
    ) -> Float64[np.ndarray, "steps numbers members"]:
        mean, square = (np.array([1 - beta**step for step in steps.tolist()])[:, None] for beta in ADAM_BETAS)
        return np.stack(
            [1 - lr * weight_decay, lr / mean, np.broadcast_to(np.sqrt(square), lr.shape)], axis=1
        )

    def _update(self, grads: Float[Tensor, "members numbers"], *numbers: Float[Tensor, "members 1"]) -> None:
        shrinkage, rate, root = numbers
        mean, square = self.state["mean"], self.state["square"]
        self._joined[:, self._decaying].mul_(shrinkage)
        mean.lerp_(grads, 1 - ADAM_BETAS[0])
        square.mul_(ADAM_BETAS[1]).addcmul_(grads, grads, value=1 - ADAM_BETAS[1])
        denominator = torch.sqrt(square, out=grads).div_(root).add_(ADAM_EPS)
        self._joined.sub_((rate * mean).div_(denominator))


class SGD(MemberOptimizer):
    """Stochastic gradient descent with momentum; weight decay is part of the gradient."""

    slots = ("velocity",)

    def _numbers(
        self,
        steps: np.ndarray,  # noqa: ARG002 -- AdamW needs it
        lr: np.ndarray,
        weight_decay: np.ndarray,
    ) -> Float64[np.ndarray, "steps numbers members"]:
        return np.stack([lr, np.broadcast_to(weight_decay, lr.shape)], axis=1)

    def _update(self, grads: Float[Tensor, "members numbers"], *numbers: Float[Tensor, "members 1"]) -> None:
        rate, decay = numbers
        grads[:, self._decaying] += decay * self._joined[:, self._decaying]
        velocity = self.state["velocity"]
        velocity.mul_(self._momentum.to(velocity.dtype)[:, None]).add_(grads)
        self._joined.sub_(rate * velocity)


OPTIMIZERS: dict[str, type[MemberOptimizer]] = {"adamw": AdamW, "sgd": SGD}


def make_optimizer(parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> MemberOptimizer:
    """The optimiser of members that have the same option ``optimizer``."""
    (kind,) = {config.optimizer for config in configs}
    return OPTIMIZERS[kind](parameters, configs)


def skips_weight_decay(name: str) -> bool:
    """Whether a parameter is a bias or belongs to a norm."""
    return name.endswith("bias") or "norm" in name


def _rows(values: Tensor) -> Float[Tensor, "members numbers"]:
    """Values ``(members, ...)`` as a row for each member."""
    return values.reshape(len(values), -1)
