"""Optimisers with a learning rate, weight decay and momentum for each member.

The updates are those of ``torch.optim.AdamW`` and ``torch.optim.SGD``, with a leading members axis. What
depends on the number of the step is an argument that lies on the compute device: an update that is recorded
once (`losa.adapt.training.recorded_steps`) is right for every step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from losa.adapt.config import AdaptConfig
from losa.cache_format.common.device import to_device

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8


class MemberOptimizer(ABC):
    """Updates parameters ``(members, ...)`` in place. Weight decay skips biases and norms."""

    slots: tuple[str, ...]
    """Names of the tensors of state that each parameter has, each in the shape of the parameter."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> None:
        """Remember nothing yet.

        Args:
            parameters: parameters by name; biases and norms are recognised by their names.
            configs: configuration of each member.
        """
        self.parameters = dict(parameters)
        self._device = next(iter(self.parameters.values())).device
        # In float64, as torch's own optimisers, whose rates are Python numbers.
        momentum = torch.tensor([config.momentum for config in configs], dtype=torch.float64)
        self._momentum = to_device(momentum, self._device)
        self.state = {
            slot: {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
            for slot in self.slots
        }

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
        """Update every parameter that has a gradient.

        Args:
            numbers: those of the step; see `numbers`.
        """
        numbers = numbers.to(next(iter(self.parameters.values())).dtype)
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                of_step = numbers.view(len(numbers), -1, *[1] * (parameter.ndim - 1)).unbind()
                self._update(name, parameter, parameter.grad, *of_step, decays=not skips_weight_decay(name))

    def keep(self, members: Sequence[int], parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep only some members.

        Args:
            members: positions of the members to keep, in their new order.
            parameters: their parameters by name.
        """
        self.parameters = dict(parameters)
        chosen = to_device(torch.tensor(list(members)), self._device)
        self._momentum = self._momentum[chosen]
        for slot in self.state.values():
            for name, value in slot.items():
                slot[name] = value[chosen]

    def member_state(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of all state tensors, each ``(members, ...)``."""
        for slot, values in self.state.items():
            for name, value in values.items():
                yield f"{slot}.{name}", value

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
    def _update(self, name: str, parameter: Tensor, grad: Tensor, *numbers: Tensor, decays: bool) -> None:
        """Update one parameter.

        Args:
            name: its name.
            parameter: the parameter.
            grad: its gradient.
            numbers: those of the step, each in the dtype of the parameter and with as many axes.
            decays: whether weight decay applies to it.
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

    def _update(self, name: str, parameter: Tensor, grad: Tensor, *numbers: Tensor, decays: bool) -> None:
        shrinkage, rate, root = numbers
        mean, square = self.state["mean"][name], self.state["square"][name]
        if decays:
            parameter.mul_(shrinkage)
        mean.lerp_(grad, 1 - ADAM_BETAS[0])
        square.mul_(ADAM_BETAS[1]).addcmul_(grad, grad, value=1 - ADAM_BETAS[1])
        denominator = square.sqrt().div_(root).add_(ADAM_EPS)
        parameter.sub_(rate * mean / denominator)


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

    def _update(self, name: str, parameter: Tensor, grad: Tensor, *numbers: Tensor, decays: bool) -> None:
        rate, decay = numbers
        velocity = self.state["velocity"][name]
        momentum = self._momentum.to(parameter.dtype).view(rate.shape)
        if decays:
            grad = grad + decay * parameter
        velocity.mul_(momentum).add_(grad)
        parameter.sub_(rate * velocity)


OPTIMIZERS: dict[str, type[MemberOptimizer]] = {"adamw": AdamW, "sgd": SGD}


def make_optimizer(parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> MemberOptimizer:
    """The optimiser of members that have the same option ``optimizer``."""
    (kind,) = {config.optimizer for config in configs}
    return OPTIMIZERS[kind](parameters, configs)


def skips_weight_decay(name: str) -> bool:
    """Whether a parameter is a bias or belongs to a norm."""
    return name.endswith("bias") or "norm" in name
