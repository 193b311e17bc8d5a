"""Textures: classes that keep their numbers, on one scale."""

import numpy as np
import pytest

from losa.pipelines.pretraining.textures import _FAMILIES, SIZE, texture_tiles


def test_a_class_is_a_function_of_the_seed_and_its_number() -> None:
    tiles = texture_tiles(8, 0)
    assert (tiles.shape, tiles.dtype) == ((8, SIZE, SIZE), np.float32)
    assert np.array_equal(texture_tiles(3, 0), tiles[:3])
    assert not np.array_equal(texture_tiles(3, 1), tiles[:3])


def test_all_are_on_one_scale() -> None:
    tiles = texture_tiles(24, 0)
    assert tiles.mean((1, 2)) == pytest.approx(np.zeros(24), abs=1e-5)
    assert tiles.std((1, 2)) == pytest.approx(np.ones(24), abs=1e-4)


@pytest.mark.parametrize("family", _FAMILIES, ids=lambda family: family.__name__)
def test_every_texture_of_a_family_is_one_of_its_own(family) -> None:
    tiles = np.stack([family(np.random.default_rng(number)) for number in range(4)]).reshape(4, -1)
    similar = np.corrcoef(tiles)
    assert (np.abs(similar[~np.eye(4, dtype=bool)]) < 0.9).all()
