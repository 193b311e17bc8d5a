"""LoSA, low-rank side adaptation (arXiv 2402.02887).

    y_0 = b_L        y_i = g_i(b_i + y_{i-1}) + y_{i-1}

b_1, ..., b_L are the cached activations of the sites, and g_i is a low-rank mixer: one low-rank MLP along the
width and one along the tokens. The paper does not specify their order, whether the second MLP sees the output
of the first, norms and biases. Here the second sees it, so that the last projections of both can start at
zero and the network starts as the identity; order, norm and biases are options.

For clips of several frames, the MLP along the tokens is factorised as in the paper, into one along space and
one along time; ``mixing=joint`` keeps one along all tokens of all frames.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import Weights, member_constant, member_normal
from losa.adapt.side_networks.space_time_mixer import SpaceTimeMixer
from losa.adapt.streams import Stream, StreamSites


class LoSA(SideNetwork):
    """One mixer for each site: ``2 * width * rank + 2 * tokens * rank`` parameters per site, and the head.

    Biases add ``width + tokens + 2 * rank`` per site. Where space and time are factorised, the parameters
    along the tokens are those of `SpaceTimeMixer`.
    """

    options: ClassVar[tuple[str, ...]] = (
        "rank",
        "order",
        "norm",
        "bias",
        "start",
        "pool",
        "mixing",
        "probe_share",
    )
    product_rows: ClassVar[Literal["rank", "heads"] | None] = "rank"
    default_dropout: ClassVar[float] = 0.5
    default_probe_share: ClassVar[float] = 0.5
    mixes_along_time: ClassVar[bool] = True

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        layers, rank = len(features.sites), architecture.rank
        tokens, width = features.tokens.count, features.width
        self.channel_down = member_normal(seeds, "channel_down", (layers, rank, width), width**-0.5)
        self.channel_up = member_constant(seeds, (layers, rank, width), 0.0)
        if not self.factorised:
            self.token_down = member_normal(seeds, "token_down", (layers, rank, tokens), tokens**-0.5)
            self.token_up = member_constant(seeds, (layers, rank, tokens), 0.0)
        if architecture.bias:
            self.channel_down_bias = member_constant(seeds, (layers, rank), 0.0)
            self.channel_up_bias = member_constant(seeds, (layers, 1, width), 0.0)
            if not self.factorised:
                self.token_down_bias = member_constant(seeds, (layers, rank), 0.0)
                self.token_up_bias = member_constant(seeds, (layers, 1, tokens), 0.0)
        if self.factorised:
            self.space_time = SpaceTimeMixer(seeds, layers, rank, features.tokens, bias=architecture.bias)

    def stream_sites(self) -> StreamSites:
        """Layer i sees ``b_i + y_0``; the output starts from ``y_0``, the last or the first site."""
        last = len(self.features.sites) - 1
        start = last if self.architecture.start == "last" else 0
        return StreamSites(layers=tuple((site, start) for site in range(last + 1)), output=start)

    def step(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        """``g_i``: both MLPs in the chosen order."""
        mix_tokens = self.space_time if self.factorised else self._mix_tokens
        mixers = (self._mix_channels, mix_tokens)
        for mix in mixers if self.architecture.order == "channel_token" else mixers[::-1]:
            mix(stream, layer, weights, drop)

    def _mix_channels(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        hidden = stream.project(weights["channel_down"])
        if self.architecture.bias:
            hidden = hidden + weights["channel_down_bias"][:, None, :, None]
        hidden = drop(functional.gelu(hidden), f"channels.{layer}")
        stream.update(hidden, weights["channel_up"])
        if self.architecture.bias:
            ones = self.channel_up.new_ones(self.members, 1, self.features.tokens.count)
            stream.update(ones, weights["channel_up_bias"])

    def _mix_tokens(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        hidden = stream.project_tokens(weights["token_down"])
        if self.architecture.bias:
            hidden = hidden + weights["token_down_bias"][:, None, :, None]
        hidden = drop(functional.gelu(hidden), f"tokens.{layer}")
        stream.update(weights["token_up"], hidden)
        if self.architecture.bias:
            ones = torch.ones_like(weights["channel_up"][:, :1])
            stream.update(weights["token_up_bias"], ones)
