"""Scenes: always the same, and as they are described."""

import pytest
import torch

from losa.pipelines.pretraining.scenes import SceneDrawer, Scenes

FIELDS = ("images", "figure", "texture", "ground", "pose", "mask")


def drawer(seed: int = 0) -> SceneDrawer:
    return SceneDrawer(figures=7, textures=6, side=32, seed=seed)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return drawer().draw(3, 200)


def test_a_batch_is_a_function_of_the_seed_and_its_number(scenes: Scenes) -> None:
    again, other, seed = drawer().draw(3, 200), drawer().draw(4, 200), drawer(1).draw(3, 200)
    for field in FIELDS:
        assert torch.equal(getattr(again, field), getattr(scenes, field))
        assert not torch.equal(getattr(other, field), getattr(scenes, field))
        assert not torch.equal(getattr(seed, field), getattr(scenes, field))


def test_shapes_and_values(scenes: Scenes) -> None:
    assert scenes.images.shape == (200, 3, 32, 32)
    for values in (scenes.images, scenes.mask):
        assert values.isfinite().all()
        assert values.min() >= 0
        assert values.max() <= 1
    assert set(scenes.figure.tolist()) == set(range(7))
    assert set(scenes.texture.tolist()) == set(scenes.ground.tolist()) == set(range(6))


def test_the_mask_is_where_the_figure_stands_out(scenes: Scenes) -> None:
    """Between a figure and its ground there is a contrast, in most images."""
    inside, outside = scenes.mask > 0.9, scenes.mask < 0.1
    means = [
        (scenes.images * part[:, None]).sum((2, 3)) / part.sum((1, 2))[:, None].clamp(min=1)
        for part in (inside, outside)
    ]
    seen = inside.sum((1, 2)) > 20
    assert seen.float().mean() > 0.5
    assert ((means[0] - means[1]).norm(dim=1)[seen] > 0.15).float().mean() > 0.9


def test_the_pose_tells_where_the_figure_is(scenes: Scenes) -> None:
    axis = torch.linspace(-1, 1, 32)
    mass = scenes.mask.sum((1, 2)).clamp(min=1)
    across = (scenes.mask * axis).sum((1, 2)) / mass
    down = (scenes.mask * axis[:, None]).sum((1, 2)) / mass
    for place, number in ((across, 0), (down, 1)):
        assert torch.corrcoef(torch.stack([place, scenes.pose[:, number]]))[0, 1] > 0.5
    assert (scenes.pose.std(0) > 0.3).all()
    assert (scenes.pose.std(0) < 2).all()
