"""Tells the frames of a clip apart: backbones see each of them by itself."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.side_networks.parameters import Weights, member_normal

STD = 1.0
"""Standard deviation of the initial values: that of the projections of normalised features."""


class TimeEmbedding(nn.Module):
    """Numbers that are added to the projections of a frame, the same at all of its positions.

    Without them, attention would treat the frames of a clip as a set. ``rows * frames`` parameters per layer.
    """

    def __init__(self, seeds: Sequence[int], layers: int, rows: int, frames: int) -> None:
        """Draw the initial values.

        Args:
            seeds: initialisation seed of each member.
            layers: number of layers.
            rows: rows of the projections.
            frames: frames of a clip.
        """
        super().__init__()
        self.embedding = member_normal(seeds, "time_embedding", (layers, rows, frames), STD)

    def forward(
        self, projected: Float[Tensor, "members images rows tokens"], weights: Weights
    ) -> Float[Tensor, "members images rows tokens"]:
        """Add the embedding of each token's frame; see `SideNetwork.step` for the weights."""
        embedding = weights["time.embedding"].to(projected.dtype)
        by_frame = projected.unflatten(3, (embedding.shape[-1], -1))
        embedded: Tensor = (by_frame + embedding[:, None, :, :, None]).flatten(3)
        return embedded
