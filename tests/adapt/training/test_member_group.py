from collections.abc import Callable
from typing import Any

import pytest
import torch

from losa.adapt import FrozenFeatures, MemberGroup, make_group
from losa.adapt.side_networks.dropout import DropoutKeys
from losa.adapt.training.schedule import warmup_cosine

NUMBERS = [4, 7, 9]


@pytest.fixture
def make(make_config: Any, make_features: Any, activations_of: Any) -> Callable[..., MemberGroup]:
    """``make(*options, steps)``: members 4, 7 and 9 after some steps, with a probe beside their layers."""

    def made(*options: dict[str, Any], steps: int = 2) -> MemberGroup:
        options = options or ({"seed": 0, "lr": 0.1}, {"seed": 1, "lr": 0.2}, {"seed": 2, "lr": 0.3})
        configs = [make_config(**({"rank": 4, "probe_share": 0.25} | each)) for each in options]
        features = make_features()
        group = make_group(NUMBERS[: len(configs)], configs, features, 3, "cpu")
        read = FrozenFeatures(activations_of(features).float())
        for step in range(steps):
            group.optimizer.zero_grad()
            group.network(read).square().sum().backward()
            group.optimizer.step(group.numbers_of(range(step, step + 1), 10)[0])
        return group

    return made


def test_a_member_has_what_its_seed_gives(make: Any, make_features: Any, make_config: Any) -> None:
    group = make(steps=0)
    alone = make_group([0], [make_config(rank=4, seed=1, probe_share=0.25)], make_features(), 3, "cpu")
    expected = alone.member_state(0)
    for name, value in group.member_state(7).items():
        assert torch.equal(value, expected[name]), name


def test_state_is_parameters_and_what_the_optimiser_remembers(make: Any) -> None:
    group = make()
    names = {name for name, _ in group.network.named_parameters()}
    expected = {f"{kind}.{name}" for kind in ("parameter", "mean", "square") for name in names}
    state = group.member_state(7)
    assert set(state) == expected
    assert torch.equal(state["parameter.head.weight"], group.network.head.weight[1])
    assert torch.equal(state["mean.head.weight"], dict(group.optimizer.member_state())["mean.head.weight"][1])
    assert not any(value.requires_grad for value in state.values())


def test_those_that_are_kept_have_what_they_had(make: Any) -> None:
    group, before = make(), make()
    group.keep([9, 4])
    assert (group.numbers, [config.seed for config in group.configs]) == ([9, 4], [2, 0])
    assert group.network.members == 2
    for number in (4, 9):
        for name, value in group.member_state(number).items():
            assert torch.equal(value, before.member_state(number)[name]), name
    assert dict(group.network.named_parameters()).keys() == group.optimizer.parameters.keys()
    for name, parameter in group.network.named_parameters():
        assert parameter is group.optimizer.parameters[name]
    assert group.lr(5, 10) == [pytest.approx(lr * warmup_cosine(5, 10, 0.1)) for lr in (0.3, 0.1)]


def test_a_state_is_taken_up_by_one_member_alone(make: Any) -> None:
    group, other = make(steps=0), make()
    untouched = {name: value.clone() for name, value in group.member_state(4).items()}
    group.load_member_state(9, other.member_state(7))
    for name, value in group.member_state(9).items():
        assert torch.equal(value, other.member_state(7)[name]), name
    for name, value in group.member_state(4).items():
        assert torch.equal(value, untouched[name]), name


def test_a_state_that_does_not_fit(make: Any) -> None:
    group = make()
    with pytest.raises(KeyError, match="channel_down"):
        group.load_member_state(4, {})
    with pytest.raises(RuntimeError, match="size"):
        group.load_member_state(4, make({"rank": 5}).member_state(4))


def test_options_are_those_of_each(make: Any) -> None:
    group = make({"label_smoothing": 0.25, "dropout": 0.5, "warmup": 0.5}, {"warmup": 0.0}, steps=0)
    assert group.smoothing.tolist() == [0.25, 0.0]
    assert group.lr(0, 10) == [3e-3 * warmup_cosine(0, 10, warmup) for warmup in (0.5, 0.0)]
    group.dropout_keys.begin(range(3, 4))
    dropout = group.dropout(3, 16, group.dropout_keys.of_step(3))
    assert (dropout.rates.tolist(), dropout.first_image) == ([0.5, 0.0], 16)
    keys = DropoutKeys([group.configs[0].seed, group.configs[1].seed], "cpu")
    assert torch.equal(dropout.keys("here"), keys.at("here", 3))


def test_no_dropout_costs_nothing(make: Any) -> None:
    group = make({"dropout": 0.0}, steps=0)
    assert group.dropout_keys is None
    assert group.dropout(3, 16, None) is None


def test_options_are_those_of_who_is_kept(make: Any) -> None:
    group = make(*({"dropout": rate, "label_smoothing": rate / 2, "seed": 8} for rate in (0.5, 0.25)))
    group.keep([7])
    assert (group.smoothing.tolist(), group.dropout_rates.tolist()) == ([0.125], [0.25])
    assert group.dropout_keys.at("here", 0).shape == (1,)
