"""Training: every step is a function of the recipe."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from losa.cache_format import LosaError
from losa.pipelines.pretraining import training
from losa.pipelines.pretraining.training import Recipe, train


def weights(learner: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.parameters()])


class StoppedError(Exception):
    pass


def train_until(step: int, recipe: Recipe, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with a checkpoint after every step, and stop before the given one."""

    def seen(recipe: Recipe, number: int) -> torch.Tensor:
        if number == step:
            raise StoppedError
        return patches(recipe, number)

    patches = training._seen
    with monkeypatch.context() as patched, pytest.raises(StoppedError):
        patched.setattr(training, "_seen", seen)
        train(recipe, checkpoint, every=1)


@pytest.mark.parametrize("fewer", [0, 1])
def test_an_interrupted_run_ends_as_one_that_was_not(
    fewer: int, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it began with more steps, as long as the learning rate did not yet fall."""
    whole = weights(train(recipe, tmp_path / "whole.pt"))
    train_until(2, replace(recipe, steps=recipe.steps + fewer), tmp_path / "part.pt", monkeypatch)
    assert torch.equal(weights(train(recipe, tmp_path / "part.pt")), whole)
    assert torch.equal(weights(train(recipe, tmp_path / "part.pt")), whole)
    assert not torch.equal(weights(train(replace(recipe, seed=1), tmp_path / "other.pt")), whole)


def test_a_checkpoint_of_another_recipe_is_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    train_until(3, recipe, checkpoint, monkeypatch)
    with pytest.raises(
        LosaError, match=r"another recipe:\n  lr: expected 0\.001, found 1\nChoose another fo"
    ):
        train(replace(recipe, lr=1), checkpoint)
    with pytest.raises(LosaError, match=r"another recipe:\n  steps: expected 4, found 6\n"):
        train(replace(recipe, steps=6), checkpoint)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(steps=10, warmup=2, decay=0.4, lr=1.0, kept=8)
    assert [recipe.rate(step) for step in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert [recipe.patches(step) for step in range(10)] == [8] * 6 + [64] * 4
