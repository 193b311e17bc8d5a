"""The subcommand `losa-bench pretrain`."""

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="where the backbone is written, beside a checkpoint"),
    ],
    steps: Annotated[int | None, typer.Option(help="steps of training [default: those of losa_tiny]")] = None,
    seed: Annotated[int, typer.Option(help="seed of scenes, initial weights and patches")] = 0,
) -> None:
    """Train losa_tiny, the backbone that ships with losa, on scenes that are drawn meanwhile.

    The same command goes on where it was interrupted. The folder then is a backbone of losa-extract:
    backbone.name=local-dir:FOLDER.
    """
    from losa.pipelines.pretraining.saving import save_backbone
    from losa.pipelines.pretraining.training import Recipe, train

    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps)
    save_backbone(train(recipe, folder / "checkpoint.pt"), folder)
