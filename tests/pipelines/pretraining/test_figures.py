"""Figures: classes that keep their numbers, and distances that are distances."""

import numpy as np
import pytest

from losa.pipelines.pretraining.figures import _FAMILIES, SIZE, Outline, _centred, _field, figure_fields


def test_a_class_is_a_function_of_the_seed_and_its_number() -> None:
    fields = figure_fields(4, 0)
    assert (fields.shape, fields.dtype) == ((4, SIZE, SIZE), np.float32)
    assert np.array_equal(figure_fields(2, 0), fields[:2])
    assert not np.array_equal(figure_fields(2, 1), fields[:2])


@pytest.mark.parametrize("family", dict.fromkeys(_FAMILIES), ids=lambda family: family.__name__)
def test_every_figure_of_a_family_is_one_of_its_own_within_the_frame(family) -> None:
    fields = np.stack([_field(_centred(family(np.random.default_rng(number)))) for number in range(6)])
    border = np.ones((SIZE, SIZE), bool)
    border[2:-2, 2:-2] = False
    assert (fields[:, border] > 0).all()
    inside = fields < 0
    assert (inside.sum((1, 2)) > 20).all()
    assert all((inside[i] != inside[j]).any() for i in range(6) for j in range(i))


def test_the_field_of_a_stroke_is_the_distance_to_it_less_its_radius() -> None:
    stroke = Outline(np.array([[-0.5, 0]]), np.array([[0.5, 0]]), np.array([0.1]), np.array([0.2]))
    field = _field(stroke)
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    middle = SIZE // 2
    assert field[middle, -1] == pytest.approx(np.hypot(axis[-1] - 0.5, axis[middle]) - 0.2, abs=1e-6)
    assert field[0, middle] == pytest.approx(-axis[0] - 0.15, abs=0.01)


def test_the_field_of_a_surface_is_negative_inside() -> None:
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    none = np.zeros(4)
    field = _field(Outline(corners, np.roll(corners, -1, axis=0), none, none, filled=True))
    assert (field < 0).mean() == 1 / 4
    assert field[SIZE // 2, SIZE // 2] == pytest.approx(-0.5, abs=1 / SIZE)
