import math

import pytest

from losa.adapt.training.schedule import warmup_cosine


def factors(steps: int, warmup: float) -> list[float]:
    return [warmup_cosine(step, steps, warmup) for step in range(steps)]


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_rises_to_one_and_falls_without_reaching_zero(steps: int, warmup: float) -> None:
    found = factors(steps, warmup)
    rising = math.floor(warmup * steps)
    assert max(found) == 1.0
    assert all(factor > 0 for factor in found)
    assert found[:rising] == sorted(found[:rising])
    assert found[rising:] == sorted(found[rising:], reverse=True)


def test_warm_up_is_linear() -> None:
    assert factors(40, 0.1)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_without_warm_up_it_is_half_a_cosine() -> None:
    expected = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert factors(8, 0.0) == pytest.approx(expected)
