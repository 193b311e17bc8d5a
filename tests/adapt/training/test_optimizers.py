"""Every member's updates are those of torch's own optimiser, alone with its own options."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from losa.adapt import AdaptConfig, SideNetwork
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training.optimizers import OPTIMIZERS, MemberOptimizer, make_optimizer, skips_weight_decay

STEPS = 10
MEMBERS: list[dict[str, Any]] = [
    {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.0},
    {"lr": 0.01, "weight_decay": 0.5, "momentum": 0.9},
    {"lr": 0.3, "weight_decay": 0.01, "momentum": 0.5},
]
SHAPES = {"layer.weight": (4, 3), "layer.bias": (4,), "norm_weight": (2, 5), "scalar": ()}


@pytest.fixture(params=OPTIMIZERS)
def configs(request: pytest.FixtureRequest, make_config: Any) -> list[AdaptConfig]:
    """Members of one kind of optimiser that differ in all its options."""
    return [make_config(optimizer=request.param, **options) for options in MEMBERS]


def make_parameters(members: int) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: nn.Parameter(torch.randn(members, *shape, generator=generator, dtype=torch.float64))
        for name, shape in SHAPES.items()
    }


def gradient(name: str, step: int, members: int = len(MEMBERS)) -> torch.Tensor:
    """Large in some steps and small in others."""
    generator = torch.Generator().manual_seed(100 * step + list(SHAPES).index(name))
    shape = (members, *SHAPES[name])
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 10.0 ** (step % 3 - 1)


def rates(configs: list[AdaptConfig], step: int) -> list[float]:
    """A schedule of its own for every member."""
    return [config.lr * (1 - step / (STEPS + place)) for place, config in enumerate(configs)]


def torchs_own(config: AdaptConfig, parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    groups = [
        {"params": [parameter], "weight_decay": 0.0 if skips_weight_decay(name) else config.weight_decay}
        for name, parameter in parameters.items()
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)


def run(optimizer: MemberOptimizer, configs: list[AdaptConfig], steps: range, places: list[int]) -> None:
    for step in steps:
        for name, parameter in optimizer.parameters.items():
            parameter.grad = gradient(name, step)[places]
        lr = [rates(configs, step)[place] for place in places]
        (numbers,) = optimizer.numbers(step, [lr], [configs[place].weight_decay for place in places])
        optimizer.step(numbers)


@pytest.mark.parametrize("place", range(len(MEMBERS)))
def test_ten_steps_are_those_of_torch(place: int, configs: list[AdaptConfig]) -> None:
    parameters = make_parameters(len(configs))
    alone = {name: nn.Parameter(value[place].detach().clone()) for name, value in parameters.items()}
    run(make_optimizer(parameters, configs), configs, range(STEPS), [0, 1, 2])

    expected = torchs_own(configs[place], alone)
    for step in range(STEPS):
        for name, parameter in alone.items():
            parameter.grad = gradient(name, step)[place]
        for group in expected.param_groups:
            group["lr"] = rates(configs, step)[place]
        expected.step()
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter[place], alone[name], rtol=1e-12, atol=1e-12)


def test_numbers_of_many_steps_are_those_of_each(configs: list[AdaptConfig]) -> None:
    optimizer = make_optimizer(make_parameters(3), configs)
    lr, decays = [rates(configs, step) for step in range(5)], [config.weight_decay for config in configs]
    together = optimizer.numbers(7, lr, decays)
    for step in range(5):
        assert torch.equal(together[step], optimizer.numbers(7 + step, lr[step : step + 1], decays)[0])


def test_those_that_are_kept_go_on_as_before(configs: list[AdaptConfig]) -> None:
    parameters = make_parameters(3)
    whole = make_optimizer(parameters, configs)
    run(whole, configs, range(4), [0, 1, 2])
    fewer = copy.deepcopy(whole)
    run(whole, configs, range(4, STEPS), [0, 1, 2])

    places = [2, 0]
    left = {name: nn.Parameter(value.detach()[places].clone()) for name, value in fewer.parameters.items()}
    fewer.keep(places, left)
    run(fewer, configs, range(4, STEPS), places)
    for name, parameter in left.items():
        assert torch.equal(parameter, whole.parameters[name][places]), name
    for (name, mine), (_, theirs) in zip(fewer.member_state(), whole.member_state(), strict=True):
        assert torch.equal(mine, theirs[places]), name


def test_parameters_and_each_state_are_one_matrix(configs: list[AdaptConfig]) -> None:
    optimizer = make_optimizer(make_parameters(3), configs)
    optimizer.keep([1], {name: nn.Parameter(value[1:2]) for name, value in make_parameters(3).items()})
    joined = {each.untyped_storage().data_ptr() for each in optimizer.parameters.values()}
    states = {value.untyped_storage().data_ptr() for _, value in optimizer.member_state()}
    assert (len(joined), len(states)) == (1, len(optimizer.slots))


def test_what_is_remembered_is_all_that_is(configs: list[AdaptConfig]) -> None:
    """An optimiser that is given parameters and state of another one goes on like it."""
    first = make_optimizer(make_parameters(3), configs)
    run(first, configs, range(4), [0, 1, 2])
    second = make_optimizer(make_parameters(3), configs)
    with torch.no_grad():
        for name, parameter in second.parameters.items():
            parameter.copy_(first.parameters[name])
    for (_, mine), (_, theirs) in zip(second.member_state(), first.member_state(), strict=True):
        mine.copy_(theirs)
    for optimizer in (first, second):
        run(optimizer, configs, range(4, STEPS), [0, 1, 2])
    for name, parameter in first.parameters.items():
        assert torch.equal(parameter, second.parameters[name])


def test_parameters_without_a_gradient_stay(configs: list[AdaptConfig]) -> None:
    parameters = make_parameters(3)
    before = {name: value.detach().clone() for name, value in parameters.items()}
    optimizer = make_optimizer(parameters, configs)
    parameters["layer.weight"].grad = gradient("layer.weight", 0)
    optimizer.step(optimizer.numbers(0, [[0.1] * 3], [0.0] * 3)[0])
    assert {name for name, value in parameters.items() if not torch.equal(value, before[name])} == {
        "layer.weight"
    }
    optimizer.zero_grad()
    assert all(value.grad is None for value in parameters.values())


@pytest.mark.parametrize("side", SIDE_NETWORKS)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_decay_shrinks_weights_and_leaves_biases_and_norms(
    side: str, kind: str, make_network: Callable[..., SideNetwork], randomise: Any
) -> None:
    network = randomise(make_network(side, bias=True, optimizer=kind, lr=0.1, weight_decay=0.5))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(dict(network.named_parameters()), [network.config])
    optimizer.step(optimizer.numbers(0, [[0.1]], [0.5])[0])
    factors = {
        name: float((parameter / before[name]).detach().mean())
        for name, parameter in network.named_parameters()
    }
    free = {name for name, factor in factors.items() if factor == 1.0}
    assert free == {name for name in factors if "norm" in name or "bias" in name}
    assert all(factors[name] == pytest.approx(0.95) for name in factors.keys() - free)


def test_one_optimiser_is_of_one_kind(make_config: Any) -> None:
    with pytest.raises(ValueError, match="too many values"):
        make_optimizer(make_parameters(2), [make_config(optimizer=kind) for kind in OPTIMIZERS])
