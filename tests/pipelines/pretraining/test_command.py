"""The command: its options are the recipe, and its folder is a backbone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.extract import BackboneConfig, load_backbone
from losa.pipelines.pretraining import training
from losa.pipelines.pretraining.learner import Learner
from losa.pipelines.pretraining.training import Recipe


@pytest.mark.parametrize(
    ("options", "recipe"),
    [([], Recipe()), (["--steps", "7", "--seed", "3"], Recipe(steps=7, seed=3))],
)
def test_the_folder_is_a_backbone(
    options: list[str],
    recipe: Recipe,
    command: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def train(*arguments: Any) -> Learner:
        asked.append(arguments)
        return Learner(figures=3, textures=2)

    monkeypatch.setattr(training, "train", train)
    finished = command(tmp_path, "losa-bench", "pretrain", "mine", *options)
    assert finished.returncode == 0, finished.stderr
    assert asked == [(recipe, Path("mine/checkpoint.pt"))]
    assert load_backbone(BackboneConfig(name=f"local-dir:{tmp_path / 'mine'}")).identity.depth == 6
