"""A recipe that takes no time."""

import pytest

from losa.pipelines.pretraining.training import Recipe


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(steps=4, batch=2, figures=3, textures=2, warmup=2, decay=0.5, kept=8)
