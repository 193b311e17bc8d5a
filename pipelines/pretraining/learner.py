"""A backbone that learns to tell what is in drawn scenes, and the heads that tell it."""

from dataclasses import dataclass
from typing import Any, cast

import timm
import torch
from jaxtyping import Int64
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from torch import Tensor, nn
from torch.nn import functional

from losa.pipelines.pretraining.scenes import POSE, Scenes

ARCHITECTURE = "vit_tiny_patch16_224"
SIDE, PATCH = 32, 4
WIDTH = 160
ARGUMENTS: dict[str, Any] = {
    "img_size": SIDE,
    "patch_size": PATCH,
    "embed_dim": WIDTH,
    "depth": 6,
    "num_heads": 5,
    "class_token": False,
    "global_pool": "avg",
}
"""With them, timm's `ARCHITECTURE` becomes losa_tiny."""
MEAN = STD = 0.5
_OUTLINE = 16
"""Width and height of the mask that the mean of the tokens tells."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What a batch is told by, each a mean over its images."""

    total: Tensor
    parts: dict[str, Tensor]
    accuracy: Tensor


class Learner(nn.Module):
    """A vision transformer and linear heads: on the mean of its tokens, and on each token for the mask."""

    def __init__(self, figures: int, textures: int) -> None:
        """Make it with timm's initial weights, of torch's global seed."""
        super().__init__()
        self.backbone = timm.create_model(ARCHITECTURE, num_classes=0, **ARGUMENTS)
        self.figure = nn.Linear(WIDTH, figures)
        self.texture = nn.Linear(WIDTH, textures)
        self.ground = nn.Linear(WIDTH, textures)
        self.pose = nn.Linear(WIDTH, POSE)
        self.outline = nn.Linear(WIDTH, _OUTLINE * _OUTLINE)
        self.mask = nn.Linear(WIDTH, PATCH * PATCH)
        self._favour_neighbours()

    def _favour_neighbours(self) -> None:
        """Let tokens attend to what is near and alike from the start; a short training would not teach it.

        Positions are sines and cosines, and keys are queries: a simple form of mimetic initialisation
        (Trockman and Kolter, arXiv 2305.09828).
        """
        model = cast(Any, self.backbone)
        positions = build_sincos2d_pos_embed([SIDE // PATCH] * 2, WIDTH, temperature=10)
        with torch.no_grad():
            model.pos_embed[0] = positions - positions.mean(0)
            for block in model.blocks:
                queries, keys, _ = block.attn.qkv.weight.chunk(3)
                keys.copy_(nn.init.normal_(queries, std=0.05))

    def losses(self, scenes: Scenes, kept: Int64[Tensor, "images patches"]) -> Losses:
        """What is wrong of a batch, of which the backbone sees some patches.

        Args:
            scenes: the batch.
            kept: indices of the patches of each image that are seen.
        """
        tokens = self._tokens(scenes.images, kept)
        mean = cast(Any, self.backbone).fc_norm(tokens.mean(1))
        figure = self.figure(mean)
        masks = scenes.mask.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH).flatten(3).flatten(1, 2)
        masks = masks.gather(1, kept[..., None].expand(-1, -1, PATCH * PATCH))
        outlines = functional.adaptive_avg_pool2d(scenes.mask[:, None], _OUTLINE).flatten(1)
        normed = functional.layer_norm(tokens, tokens.shape[-1:])
        parts = {
            "figure": functional.cross_entropy(figure, scenes.figure),
            "texture": 0.3 * functional.cross_entropy(self.texture(mean), scenes.texture),
            "ground": 0.3 * functional.cross_entropy(self.ground(mean), scenes.ground),
            "pose": 0.5 * functional.mse_loss(self.pose(mean), scenes.pose),
            "outline": 2.0 * functional.binary_cross_entropy_with_logits(self.outline(mean), outlines),
            "mask": 2.0 * functional.binary_cross_entropy_with_logits(self.mask(normed), masks),
        }
        accuracy = (figure.argmax(1) == scenes.figure).float().mean()
        return Losses(torch.stack(list(parts.values())).sum(), parts, accuracy)

    def _tokens(self, images: Tensor, kept: Tensor) -> Tensor:
        """Tokens of the seen patches after the last block."""
        model = cast(Any, self.backbone)
        patches = model.patch_embed((images - MEAN) / STD) + model.pos_embed
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        return cast(Tensor, model.blocks(patches))
