from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch.optim import SGD, AdamW

from losa.adapt import SideNetwork
from losa.adapt.architecture import SideKind
from losa.adapt.optimizers import make_optimizer

DECAYED = {
    "losa": {"channel_down", "channel_up", "token_down", "token_up", "head.weight"},
    "last": {"query_key_value", "up", "head.weight"},
    "linear": {"head.weight"},
}


@pytest.mark.parametrize("side", get_args(SideKind))
def test_biases_and_norms_are_not_decayed(side: SideKind, make_network: Callable[..., SideNetwork]) -> None:
    network = make_network(side, bias=True, weight_decay=0.5)
    optimizer = make_optimizer(network.config, network)
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found = {name: decay[id(parameter)] for name, parameter in network.named_parameters()}
    assert found == {name: 0.5 if name in DECAYED[side] else 0.0 for name in found}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_shrinks_weights_and_leaves_biases(
    optimizer: str, make_network: Callable[..., SideNetwork], randomise: Any
) -> None:
    network = randomise(make_network("losa", bias=True, optimizer=optimizer, lr=0.1, weight_decay=0.5))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(network.config, network).step()
    for name, parameter in network.named_parameters():
        factor = 0.95 if name in DECAYED["losa"] else 1.0
        torch.testing.assert_close(parameter, before[name] * factor)


def test_kinds_of_optimizer(make_network: Callable[..., SideNetwork]) -> None:
    network = make_network("linear", optimizer="adamw", lr=0.25)
    adamw = make_optimizer(network.config, network)
    assert isinstance(adamw, AdamW)
    network = make_network("linear", optimizer="sgd", lr=0.25, momentum=0.75)
    sgd = make_optimizer(network.config, network)
    assert isinstance(sgd, SGD)
    assert {group["momentum"] for group in sgd.param_groups} == {0.75}
    assert {group["lr"] for group in (*adamw.param_groups, *sgd.param_groups)} == {0.25}
