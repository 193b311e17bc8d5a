"""LoSA's mixer of the tokens of clips: a low-rank MLP along space, and one along time (arXiv 2402.02887)."""

from collections.abc import Sequence
from typing import cast

from torch import nn
from torch.nn import functional

from losa.adapt.side_networks.base import Drop
from losa.adapt.side_networks.parameters import Weights, member_constant, member_normal
from losa.adapt.streams import SpaceTimeStream, Stream
from losa.cache_format.identity import TokenLayout


class SpaceTimeMixer(nn.Module):
    """Both MLPs see the same input, and their outputs are summed.

    The one along space mixes the positions of each frame, with the same weights in all frames; the one along
    time mixes the frames of each position, with the same weights at all positions. Their last projections
    start at zero. ``2 * (positions + frames) * rank`` parameters per layer, and ``positions + frames +
    2 * rank`` with biases.
    """

    def __init__(
        self, seeds: Sequence[int], layers: int, rank: int, tokens: TokenLayout, *, bias: bool
    ) -> None:
        """Initialise the parameters of all layers.

        Args:
            seeds: initialisation seed of each member.
            layers: number of layers.
            rank: hidden units of each MLP.
            tokens: layout of the tokens.
            bias: whether the MLPs have biases.
        """
        super().__init__()
        frames = tokens.frames
        positions = tokens.count // frames
        self.space_down = member_normal(seeds, "space_down", (layers, rank, positions), positions**-0.5)
        self.space_up = member_constant(seeds, (layers, rank, positions), 0.0)
        self.time_down = member_normal(seeds, "time_down", (layers, rank, frames), frames**-0.5)
        self.time_up = member_constant(seeds, (layers, rank, frames), 0.0)
        self._bias = bias
        if bias:
            self.space_down_bias = member_constant(seeds, (layers, rank), 0.0)
            self.space_up_bias = member_constant(seeds, (layers, 1, positions), 0.0)
            self.time_down_bias = member_constant(seeds, (layers, rank), 0.0)
            self.time_up_bias = member_constant(seeds, (layers, 1, frames), 0.0)

    def forward(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        """Update a `SpaceTimeStream`; see `SideNetwork.step`."""
        weights = {name.rpartition(".")[2]: value for name, value in weights.items()}
        frames = cast(SpaceTimeStream, stream)
        in_space = frames.project_space(weights["space_down"])
        in_time = frames.project_time(weights["time_down"])
        if self._bias:
            in_space = in_space + weights["space_down_bias"][:, None, None, :, None]
            in_time = in_time + weights["time_down_bias"][:, None, :, None, None]
        in_space = drop(functional.gelu(in_space), f"space.{layer}")
        in_time = drop(functional.gelu(in_time), f"time.{layer}")
        frames.update_space(weights["space_up"], in_space)
        frames.update_time(weights["time_up"], in_time)
        if self._bias:
            # One number for each token, which is added to all of its channels.
            each = weights["time_up_bias"][..., None] + weights["space_up_bias"][:, :, None]
            frames.update(each.flatten(2), each.new_ones(len(each), 1, in_space.shape[-1]))
