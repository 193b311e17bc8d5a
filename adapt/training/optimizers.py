"""Optimisers whose learning rate, weight decay and momentum differ from member to member.

The updates are those of ``torch.optim.AdamW`` and ``torch.optim.SGD``, with a members axis in front.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.config import AdaptConfig

BETAS = (0.9, 0.999)
EPS = 1e-8

Rates = Float[Tensor, "members"]


class MemberOptimizer(ABC):
    """Updates parameters ``(members, ...)`` in place. Biases and norms are not decayed."""

    slots: tuple[str, ...]
    """What is remembered of each parameter, in its shape."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> None:
        """Start at step 0.

        Args:
            parameters: by name; the name tells biases and norms.
            configs: of the members.
        """
        self.parameters = dict(parameters)
        self.steps = 0
        self._decay = self._rates([config.weight_decay for config in configs])
        self._momentum = self._rates([config.momentum for config in configs])
        self.state = {
            slot: {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
            for slot in self.slots
        }

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: Sequence[float]) -> None:
        """Update every parameter that has a gradient.

        Args:
            lr: learning rate of each member at this step.
        """
        rates = self._rates(lr)
        self.steps += 1
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                decay = 0.0 if is_free(name) else _along(self._decay, parameter)
                self._update(name, parameter, parameter.grad, _along(rates, parameter), decay)

    def keep(self, members: Sequence[int], parameters: Mapping[str, nn.Parameter]) -> None:
        """Go on with some of the members.

        Args:
            members: which, in their new order.
            parameters: theirs.
        """
        self.parameters = dict(parameters)
        chosen = torch.tensor(list(members), device=self._decay.device)
        self._decay, self._momentum = self._decay[chosen], self._momentum[chosen]
        for slot in self.state.values():
            for name, value in slot.items():
                slot[name] = value[chosen]

    def member_state(self) -> Iterator[tuple[str, Tensor]]:
        """All that is remembered, ``(members, ...)`` each, with a name."""
        for slot, values in self.state.items():
            for name, value in values.items():
                yield f"{slot}.{name}", value

    @abstractmethod
    def _update(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: Tensor, decay: Tensor | float
    ) -> None:
        """Update one parameter."""

    def _rates(self, values: Sequence[float]) -> Rates:
        like = next(iter(self.parameters.values()))
        # In float64, as the numbers of torch's own optimisers.
        return torch.tensor(values, dtype=torch.float64, device=like.device)


class AdamW(MemberOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    slots = ("mean", "square")

    def _update(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: Tensor, decay: Tensor | float
    ) -> None:
        mean, square = self.state["mean"][name], self.state["square"][name]
        parameter.mul_((1 - lr * decay).to(parameter.dtype))
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        corrections = [1 - beta**self.steps for beta in BETAS]
        spread = (square.sqrt() / math.sqrt(corrections[1])).add_(EPS)
        parameter.sub_((lr / corrections[0]).to(parameter.dtype) * mean / spread)


class SGD(MemberOptimizer):
    """Stochastic gradient descent with momentum; weight decay is part of the gradient."""

    slots = ("velocity",)

    def _update(
        self, name: str, parameter: Tensor, gradient: Tensor, lr: Tensor, decay: Tensor | float
    ) -> None:
        velocity = self.state["velocity"][name]
        momentum = _along(self._momentum, parameter).to(parameter.dtype)
        if not isinstance(decay, float):
            gradient = gradient + decay.to(parameter.dtype) * parameter
        velocity.mul_(momentum).add_(gradient)
        parameter.sub_(lr.to(parameter.dtype) * velocity)


OPTIMIZERS: dict[str, type[MemberOptimizer]] = {"adamw": AdamW, "sgd": SGD}


def make_optimizer(parameters: Mapping[str, nn.Parameter], configs: Sequence[AdaptConfig]) -> MemberOptimizer:
    """The optimiser of members that share its kind."""
    (kind,) = {config.optimizer for config in configs}
    return OPTIMIZERS[kind](parameters, configs)


def is_free(name: str) -> bool:
    """Whether a parameter is a bias or part of a norm, which are not decayed."""
    return name.endswith("bias") or "norm" in name


def _along(rates: Rates, parameter: Tensor) -> Tensor:
    return rates.view(-1, *[1] * (parameter.ndim - 1))
