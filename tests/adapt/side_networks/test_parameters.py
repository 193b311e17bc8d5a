import random

import pytest
import torch

from losa.adapt.side_networks.parameters import by_layer, member_constant, member_normal, seeded_normal


@pytest.mark.parametrize("company", [(5,), (5, 6), (9, 5, 1), (5, 5)])
def test_a_member_is_the_same_in_any_company(company: tuple[int, ...]) -> None:
    alone = member_normal([5], "down", (3, 4), 0.1)
    together = member_normal(company, "down", (3, 4), 0.1)
    assert torch.equal(together[company.index(5)], alone[0])


def test_neither_history_nor_global_seeds_matter() -> None:
    expected = seeded_normal(2, "down", (3, 4), 1.0)
    torch.manual_seed(99)
    random.seed(99)
    seeded_normal(1, "up", (7,), 1.0)
    assert torch.equal(seeded_normal(2, "down", (3, 4), 1.0), expected)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    seeded_normal(2, "down", (3, 4), 1.0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_and_names_differ() -> None:
    draws = [seeded_normal(seed, name, (6,), 1.0) for seed in (-1, 0, 1, 10) for name in ("a", "b", "0/a")]
    assert len({tuple(draw.tolist()) for draw in draws}) == len(draws)


def test_standard_deviation() -> None:
    draw = seeded_normal(0, "a", (100, 100), 0.02)
    assert draw.std().item() == pytest.approx(0.02, rel=0.05)
    assert draw.mean().item() == pytest.approx(0, abs=1e-3)
    assert torch.equal(seeded_normal(0, "a", (3,), 0.0), torch.zeros(3))


def test_constants_have_a_members_axis() -> None:
    constant = member_constant([4, 4, 2], (2, 5), 1.5)
    assert constant.requires_grad
    assert torch.equal(constant, torch.full((3, 2, 5), 1.5))


def test_no_members_have_a_shape_but_take_no_memory() -> None:
    assert member_normal([], "down", (2**20, 2**20), 0.1).shape == (0, 2**20, 2**20)
    assert member_constant([], (2**20, 2**20), 0.1).nbytes == 0


def test_layers_share_one_gradient() -> None:
    down, up = member_normal([1, 2], "down", (3, 4), 1.0), member_constant([1, 2], (3, 5, 6), 2.0)
    layers = by_layer({"down": down, "up": up})
    assert len(layers) == 3
    for layer, weights in enumerate(layers):
        assert torch.equal(weights["down"], down[:, layer])
        assert torch.equal(weights["up"], up[:, layer])
    assert len({weights["down"].grad_fn for weights in layers}) == 1
