import numpy as np
import pytest

from losa.adapt.data.mixup import draw_mix
from losa.adapt.data.order import shuffled_batches


def test_alpha_zero_mixes_nothing() -> None:
    assert draw_mix(8, 0.0, 0, 0) is None


@pytest.mark.parametrize("images", [1, 2, 50])
def test_every_image_is_a_partner_once(images: int) -> None:
    mix = draw_mix(images, 0.4, 0, 3)
    assert mix is not None
    assert sorted(mix.partner.tolist()) == list(range(images))
    assert 0 <= mix.share <= 1


def test_a_function_of_data_seed_and_step_alone() -> None:
    first = draw_mix(16, 0.4, 3, 5)
    np.random.default_rng(0).permutation(10)
    draw_mix(16, 0.4, 3, 4)
    second = draw_mix(16, 0.4, 3, 5)
    assert first is not None
    assert second is not None
    assert first.share == second.share
    np.testing.assert_array_equal(first.partner, second.partner)


def test_steps_and_data_seeds_differ() -> None:
    draws = [draw_mix(16, 0.4, seed, step) for seed in (-1, 0, 1, 2**40) for step in range(5)]
    assert len({mix.share for mix in draws if mix is not None}) == 20
    assert len({tuple(mix.partner.tolist()) for mix in draws if mix is not None}) == 20


def test_partners_are_not_the_order_of_images() -> None:
    mix = draw_mix(16, 0.4, 0, 0)
    assert mix is not None
    assert mix.partner.tolist() != shuffled_batches(16, 16, 0, 0)[0].tolist()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 50.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    shares = [mix.share for step in range(2000) if (mix := draw_mix(2, alpha, 0, step)) is not None]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(0.25 / (2 * alpha + 1), rel=0.1)
