"""The methods that train through the live backbone, and their numbers of trained parameters."""

import copy
from collections.abc import Sequence
from typing import Literal

from torch import nn

from losa.pipelines.bench.live.adapter import add_adapters
from losa.pipelines.bench.live.bitfit import add_bitfit
from losa.pipelines.bench.live.full import train_all
from losa.pipelines.bench.live.head import add_head
from losa.pipelines.bench.live.lora import add_lora

Method = Literal["lora", "bitfit", "adapter", "full", "linear"]

RANKED: tuple[Method, ...] = ("lora", "adapter")
"""Methods with a rank: of LoRA's updates, of the adapters' bottlenecks."""


def make_model(
    method: Method,
    backbone: nn.Module,
    *,
    rank: int | None,
    targets: Sequence[str],
    num_classes: int,
    seed: int,
) -> nn.Module:
    """Return the model of a method, in which only what is trained requires gradients.

    Args:
        method: its name.
        backbone: a timm vision transformer, changed in place.
        rank: rank of the methods in `RANKED`; None for the others.
        targets: linear layers that LoRA changes.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: the method does not fit the backbone.
    """
    if method == "bitfit":
        return add_bitfit(backbone, num_classes=num_classes, seed=seed)
    if method == "full":
        return train_all(backbone, num_classes=num_classes, seed=seed)
    if method == "linear":
        return add_head(backbone, num_classes=num_classes, seed=seed)
    assert rank is not None, "the other methods have one"
    if method == "adapter":
        return add_adapters(backbone, rank=rank, num_classes=num_classes, seed=seed)
    return add_lora(backbone, rank=rank, targets=targets, num_classes=num_classes, seed=seed)


def trained_parameters(model: nn.Module) -> int:
    """Number of parameters that require gradients, those of the head among them."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def nearest_rank(
    method: Method, backbone: nn.Module, *, parameters: int, targets: Sequence[str], num_classes: int
) -> int:
    """The rank with which a method of `RANKED` trains the number of parameters nearest to a given one.

    Args:
        method: its name.
        backbone: a timm vision transformer, which is copied.
        parameters: the number to come near to, head included.
        targets: linear layers that LoRA changes.
        num_classes: number of class scores.
    """
    one, two = (
        trained_parameters(
            make_model(
                method, copy.deepcopy(backbone), rank=rank, targets=targets, num_classes=num_classes, seed=0
            )
        )
        for rank in (1, 2)
    )
    return max(1, round(1 + (parameters - one) / (two - one)))
