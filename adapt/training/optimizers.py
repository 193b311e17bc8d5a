"""Optimisers with a learning rate, weight decay and momentum for each member.

The updates are those of ``torch.optim.AdamW`` and ``torch.optim.SGD``, with a leading members axis.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.config import AdaptConfig

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8

Rates = Float[Tensor, "members"]


class MemberOptimizer(ABC):
    """Updates parameters ``(members, ...)`` in place. Weight decay skips biases and norms."""

    slots: tuple[str, ...]
    """Names of the tensors of state that each parameter has, each in the shape of the parameter."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> None:
        """Start at step 0.

        Args:
            parameters: parameters by name; biases and norms are recognised by their names.
            configs: configuration of each member.
        """
        self.parameters = dict(parameters)
        self.steps = 0
        self._momentum = self._rates([config.momentum for config in configs])
        self.state = {
            slot: {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
            for slot in self.slots
        }

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: Sequence[float], weight_decay: Sequence[float]) -> None:
        """Update every parameter that has a gradient.

        Args:
            lr: learning rate of each member at this step.
            weight_decay: weight decay of each member.
        """
        rates, decays = self._rates([lr, weight_decay])  # in one copy to the device
        self.steps += 1
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                decay = 0.0 if skips_weight_decay(name) else _broadcast(decays, parameter)
                self._update(name, parameter, parameter.grad, _broadcast(rates, parameter), decay)

    def keep(self, members: Sequence[int], parameters: Mapping[str, nn.Parameter]) -> None:
        """Keep only some members.

        Args:
            members: positions of the members to keep, in their new order.
            parameters: their parameters by name.
        """
        self.parameters = dict(parameters)
        chosen = torch.tensor(list(members), device=self._momentum.device)
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
    def _update(self, name: str, parameter: Tensor, grad: Tensor, lr: Tensor, decay: Tensor | float) -> None:
        """Update one parameter."""

    def _rates(self, values: Sequence[float] | list[Sequence[float]]) -> Float[Tensor, "*options members"]:
        like = next(iter(self.parameters.values()))
        # In float64, as torch's own optimisers, whose rates are Python numbers.
        return torch.tensor(values, dtype=torch.float64, device=like.device)


class AdamW(MemberOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    slots = ("mean", "square")

    def _update(self, name: str, parameter: Tensor, grad: Tensor, lr: Tensor, decay: Tensor | float) -> None:
        mean, square = self.state["mean"][name], self.state["square"][name]
        parameter.mul_((1 - lr * decay).to(parameter.dtype))
        mean.lerp_(grad, 1 - ADAM_BETAS[0])
        square.mul_(ADAM_BETAS[1]).addcmul_(grad, grad, value=1 - ADAM_BETAS[1])
        corrections = [1 - beta**self.steps for beta in ADAM_BETAS]
        denominator = (square.sqrt() / math.sqrt(corrections[1])).add_(ADAM_EPS)
        parameter.sub_((lr / corrections[0]).to(parameter.dtype) * mean / denominator)


class SGD(MemberOptimizer):
    """Stochastic gradient descent with momentum; weight decay is part of the gradient."""

    slots = ("velocity",)

    def _update(self, name: str, parameter: Tensor, grad: Tensor, lr: Tensor, decay: Tensor | float) -> None:
        velocity = self.state["velocity"][name]
        momentum = _broadcast(self._momentum, parameter).to(parameter.dtype)
        if not isinstance(decay, float):
            grad = grad + decay.to(parameter.dtype) * parameter
        velocity.mul_(momentum).add_(grad)
        parameter.sub_(lr.to(parameter.dtype) * velocity)


OPTIMIZERS: dict[str, type[MemberOptimizer]] = {"adamw": AdamW, "sgd": SGD}


def make_optimizer(parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> MemberOptimizer:
    """The optimiser of members that have the same option ``optimizer``."""
    (kind,) = {config.optimizer for config in configs}
    return OPTIMIZERS[kind](parameters, configs)


def skips_weight_decay(name: str) -> bool:
    """Whether a parameter is a bias or belongs to a norm."""
    return name.endswith("bias") or "norm" in name


def _broadcast(rates: Rates, parameter: Tensor) -> Tensor:
    return rates.view(-1, *[1] * (parameter.ndim - 1))
