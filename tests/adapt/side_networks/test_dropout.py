import functools
import hashlib

import pytest
import torch
from torch import Tensor

from losa.adapt.side_networks.dropout import Dropout, DropoutKeys

SHAPE = (6, 5, 7)
"""Shape of one member's values: images, rank, tokens."""


def make_dropout(
    *, rates: tuple[float, ...], seeds: tuple[int, ...], step: int, first_image: int = 0
) -> Dropout:
    keys = functools.partial(DropoutKeys(seeds, "cpu").at, step=step)
    return Dropout(rates=torch.tensor(rates), keys=keys, first_image=first_image)


def dropped(
    rates: tuple[float, ...] = (0.3,),
    seeds: tuple[int, ...] = (1,),
    step: int = 0,
    place: str = "here",
    shape: tuple[int, ...] = SHAPE,
    first_image: int = 0,
) -> Tensor:
    """Ones after dropout."""
    dropout = make_dropout(rates=rates, seeds=seeds, step=step, first_image=first_image)
    return dropout(torch.ones(len(seeds), *shape, dtype=torch.float64), place)


def splitmix64(state: int) -> int:
    """The finaliser, as published, on unsigned integers."""
    bits = state & (2**64 - 1)
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
    return bits ^ (bits >> 31)


def test_values_are_those_of_splitmix64() -> None:
    digest = hashlib.sha256(b"dropout/1/4/here").digest()
    key = int.from_bytes(digest[:8], "little")
    numbers = torch.tensor(
        [(splitmix64(key + index * 0x9E3779B97F4A7C15) >> 40) / 2**24 for index in range(6 * 5 * 7)]
    )
    expected = (numbers >= 0.3).double().view(SHAPE) / 0.7
    torch.testing.assert_close(dropped(step=4)[0], expected, rtol=1e-6, atol=0)


def test_a_mask_does_not_depend_on_company() -> None:
    company = dropped((0.3, 0.6, 0.1), (5, 1, 9))
    assert torch.equal(company[1], dropped((0.6,), (1,))[0])
    # Members of one seed drop the same places, those with the lower rate fewer.
    same = dropped((0.3, 0.6), (1, 1))
    assert ((same[0] == 0) <= (same[1] == 0)).all()


def test_a_mask_does_not_depend_on_the_micro_batches() -> None:
    micro_batches = [
        dropped(shape=(stop - start, *SHAPE[1:]), first_image=start)
        for start, stop in ((0, 1), (1, 4), (4, 6))
    ]
    assert torch.equal(torch.cat(micro_batches, dim=1), dropped())


@pytest.mark.parametrize("change", [{"place": "there"}, {"step": 1}, {"seeds": (2,)}], ids=str)
def test_masks_are_independent(change: dict[str, object]) -> None:
    shape = (20, 50, 50)
    rates = (0.5,)
    one, other = dropped(rates, shape=shape) > 0, dropped(**{"rates": rates, "shape": shape} | change) > 0
    agreement = (one == other).double().mean().item()
    assert agreement == pytest.approx(0.5, abs=5 * 0.5 / (20 * 50 * 50) ** 0.5)


def test_zero_drops_nothing_beside_others() -> None:
    values = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = make_dropout(rates=(0.0, 0.9), seeds=(1, 2), step=0)(values, "here")
    assert torch.equal(found[0], values[0])
    assert not torch.equal(found[1], values[1])


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_statistics(rate: float) -> None:
    """Mean kept, and no pattern along any axis or between neighbours; five standard deviations."""
    images, rank, tokens = 50, 40, 60
    found = dropped((rate,), shape=(images, rank, tokens))[0]
    kept = (found > 0).double()
    spread = (rate * (1 - rate)) ** 0.5
    torch.testing.assert_close(found, kept / (1 - rate), rtol=1e-6, atol=0)

    def assert_near(values: Tensor, mean: float, spread: float, averaged: int) -> None:
        assert (values - mean).abs().max() < 5 * spread / averaged**0.5

    assert_near(kept.mean(), 1 - rate, spread, kept.numel())
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        assert_near(kept.mean(dim=others), 1 - rate, spread, kept.numel() // kept.shape[axis])
        centred = kept - (1 - rate)
        neighbours = centred.narrow(axis, 1, kept.shape[axis] - 1) * centred.narrow(
            axis, 0, kept.shape[axis] - 1
        )
        assert_near(neighbours.mean(), 0, spread**2, neighbours.numel())


def test_dtype_and_gradient() -> None:
    values = torch.ones(1, 4, 30, dtype=torch.bfloat16, requires_grad=True)
    found = make_dropout(rates=(0.5,), seeds=(1,), step=0)(values, "here")
    assert found.dtype == torch.bfloat16
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, found)


class TestKeys:
    """Those of many steps that are copied at once are those of each."""

    def test_of_places_that_were_met(self) -> None:
        keys, alone = DropoutKeys((1, 2), "cpu"), DropoutKeys((1, 2), "cpu")
        keys.begin(range(3, 6))
        for step in (3, 4, 5):
            known = keys.of_step(step)
            assert known.shape == ((0, 2) if step == 3 else (2, 2))
            for place in ("here", "there"):
                assert torch.equal(keys.at(place, step, known), alone.at(place, step))

    def test_of_another_epoch(self) -> None:
        keys, alone = DropoutKeys((1, 2), "cpu"), DropoutKeys((1, 2), "cpu")
        keys.begin(range(2))
        keys.at("here", 0)
        keys.of_step(1)
        keys.begin(range(2, 4))
        assert torch.equal(keys.of_step(3)[0], alone.at("here", 3))

    def test_of_a_place_that_comes_later(self) -> None:
        keys = DropoutKeys((1,), "cpu")
        keys.begin(range(4))
        keys.at("here", 0)
        assert len(keys.of_step(1)) == 1
        keys.at("there", 1)
        assert torch.equal(keys.of_step(2)[1], DropoutKeys((1,), "cpu").at("there", 2))
