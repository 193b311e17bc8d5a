"""Trains a learner on drawn scenes: any step is a function of the recipe, and an interrupted run goes on."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from losa.cache_format import LosaError
from losa.cache_format.common.comparison import differences, listed
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.storage.atomic_writes import make_folder, publishing
from losa.pipelines.pretraining.learner import PATCH, SIDE, Learner
from losa.pipelines.pretraining.scenes import SceneDrawer, numbered_generator

_PATCHES = (SIDE // PATCH) ** 2
_CLIP = 1.0
"""Largest norm of the gradient of all parameters."""
_BETAS = (0.9, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What determines the weights, on one kind of machine.

    The learning rate rises, stays, and falls in the last steps alone: until then, runs of fewer and of more
    steps are the same.
    """

    steps: int = 4000
    batch: int = 32
    figures: int = 100
    textures: int = 40
    lr: float = 1e-3
    warmup: int = 300
    """Steps in which the learning rate rises."""
    decay: float = 0.2
    """Fraction of the steps in which it falls, with all patches in sight."""
    kept: int = 32
    """Patches of an image that are seen before that; the others are dropped, which saves their time."""
    weight_decay: float = 0.05
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.lr * min(1, (step + 1) / self.warmup, (self.steps - step) / (self.steps - self.falls_at))

    def patches(self, step: int) -> int:
        """Patches of an image that are seen in a step."""
        return self.kept if step < self.falls_at else _PATCHES

    @property
    def falls_at(self) -> int:
        """The step from which the learning rate falls."""
        return math.floor(self.steps * (1 - self.decay))


def train(recipe: Recipe, checkpoint: Path, *, every: int = 100) -> Learner:
    """Train a learner, from its last checkpoint if there is one.

    Args:
        recipe: what is trained.
        checkpoint: file that is written now and then, and after the last step.
        every: steps between checkpoints.

    Raises:
        LosaError: the checkpoint is one of another recipe.
    """
    make_folder(checkpoint.parent)
    torch.manual_seed(recipe.seed)
    learner = Learner(recipe.figures, recipe.textures)
    optimizer = torch.optim.AdamW(learner.parameters(), betas=_BETAS, weight_decay=recipe.weight_decay)
    done = _resume(recipe, checkpoint, learner, optimizer) if checkpoint.exists() else 0
    drawer = SceneDrawer(figures=recipe.figures, textures=recipe.textures, side=SIDE, seed=recipe.seed)
    with progress_bar(recipe.steps, "pretraining", "step", initial=done) as bar:
        for step in range(done, recipe.steps):
            losses = learner.losses(drawer.draw(step, recipe.batch), _seen(recipe, step))
            optimizer.zero_grad()
            losses.total.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), _CLIP)
            optimizer.param_groups[0]["lr"] = recipe.rate(step)
            optimizer.step()
            bar.set_postfix_str(
                f"loss {losses.total.item():.3f}, figures {losses.accuracy.item():.0%}", refresh=False
            )
            bar.update(1)
            if (step + 1) % every == 0 or step + 1 == recipe.steps:
                state = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict()}
                with publishing(checkpoint) as file:
                    torch.save({"recipe": asdict(recipe), "done": step + 1, **state}, file)
    return learner


def _seen(recipe: Recipe, step: int) -> Int64[Tensor, "images patches"]:
    """Indices of the patches that are seen of each image, in a random order."""
    rng = numbered_generator(recipe.seed, step)
    return torch.rand(recipe.batch, _PATCHES, generator=rng).argsort(1)[:, : recipe.patches(step)]


def _resume(recipe: Recipe, checkpoint: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint and return the number of steps behind it."""
    content: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    before, done = Recipe(**content["recipe"]), int(content["done"])
    same = done <= min(before.falls_at, recipe.falls_at)  # up to there, the number of steps has no effect
    if different := differences(replace(before, steps=recipe.steps) if same else before, recipe):
        raise LosaError(
            f"{checkpoint} is a checkpoint of another recipe:\n{listed(different)}\n"
            "Choose another folder, or remove this one to begin anew"
        )
    learner.load_state_dict(content["learner"])
    optimizer.load_state_dict(content["optimizer"])
    return done
