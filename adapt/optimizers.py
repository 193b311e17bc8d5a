"""Optimisers for side networks."""

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from losa.adapt.config import AdaptConfig
from losa.adapt.side_networks import SideNetwork


def make_optimizer(config: AdaptConfig, network: SideNetwork) -> Optimizer:
    """AdamW, or SGD with momentum. Biases and norms are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (free if name.endswith("bias") or "norm" in name else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr)
    return SGD(groups, lr=config.lr, momentum=config.momentum)
