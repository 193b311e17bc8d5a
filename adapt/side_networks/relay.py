"""Relay, a side network of our own: content-dependent mixing of tokens at a cost linear in their number.

    a = softmax(G N(x)^T)        p = a N(x)        x += gelu(S N(x)^T + c)^T (w * p)

Each layer has ``rank`` relays. A relay first gathers: it attends over all tokens (a is one distribution over
tokens for each relay) and averages them to one vector of full width (p). Then it scatters: it scales the
channels of this vector (w) and adds it to every token, multiplied by a number that depends on that token.
Both factors of the update depend on the image, unlike those of LoSA's token mixer, and tokens are not
compared in pairs, unlike in LAST.

The stream is that of LAST (arXiv 2402.04009): layer i sees the sum of sites 0 to i, and the output is the
last site plus all updates. docs/relay.md has measurements and the variants that were tried.

For clips of several frames: with ``mixing=joint`` a relay gathers from all tokens of all frames, which a
`TimeEmbedding` tells apart. With ``factorised`` it gathers from the positions of each frame and scatters to
them; in between, each frame's vector becomes the sum of itself and a learned mixture of those of all frames.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import Weights, member_constant, member_normal
from losa.adapt.side_networks.time_embedding import TimeEmbedding
from losa.adapt.streams import FrameStream, Stream, StreamSites


class Relay(SideNetwork):
    """``rank`` relays for each site: ``3 * width * rank + rank`` parameters per site, and the head.

    Over frames there are ``2 * rank * frames`` more, or ``rank * frames^2`` if space and time are factorised.
    """

    options: ClassVar[tuple[str, ...]] = ("rank", "norm", "pool", "mixing", "probe_share")
    product_rows: ClassVar[Literal["rank", "heads"] | None] = "rank"
    default_dropout: ClassVar[float] = 0.5

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        layers, rank, width = len(features.sites), architecture.rank, features.width
        self.gather = member_normal(seeds, "gather", (layers, rank, width), width**-0.5)
        self.scatter = member_normal(seeds, "scatter", (layers, rank, width), width**-0.5)
        self.scatter_bias = member_constant(seeds, (layers, rank), 0.0)
        self.scale = member_constant(seeds, (layers, rank, width), 0.0)
        frames = features.tokens.frames
        if self.factorised:
            shape = (layers, rank, frames, frames)
            self.between_frames = member_normal(seeds, "between_frames", shape, frames**-0.5)
        elif frames > 1:
            self.time = TimeEmbedding(seeds, layers, 2 * rank, frames)

    def stream_sites(self) -> StreamSites:
        """Layer i sees ``z_0 + ... + z_i``; the output starts from the last site."""
        return StreamSites.cumulative(len(self.features.sites))

    def layered(self) -> dict[str, Float[Tensor, "members layers ..."]]:
        """The parameters, with both projections as one."""
        values = super().layered()
        return values | {"both": torch.cat([values.pop("gather"), values.pop("scatter")], dim=2)}

    def step(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        """Gather, then scatter."""
        projected = stream.project(weights["both"])
        frames = self.features.tokens.frames
        if frames > 1 and not self.factorised:
            projected = self.time(projected, weights)
        logits, received = projected.split(self.architecture.rank, dim=2)
        gathered = self._gathered(stream, logits, weights)
        bias = weights["scatter_bias"][:, None, :, None]
        received = functional.gelu(received + bias.to(received.dtype))
        received = drop(received, f"relay.{layer}")
        if self.factorised:
            scaled = weights["scale"][:, None, None] * gathered
            cast(FrameStream, stream).update_space(self._by_frame(received), scaled)
        else:
            stream.update(received, weights["scale"][:, None] * gathered)

    def _gathered(
        self, stream: Stream, logits: Float[Tensor, "members images rank tokens"], weights: Weights
    ) -> Float[Tensor, "members images *frames rank width"]:
        """What each relay hands on: one vector, or one for each frame."""
        if not self.factorised:
            return stream.project_tokens(logits.softmax(dim=-1))
        gathered = cast(FrameStream, stream).project_space(self._by_frame(logits).softmax(dim=-1))
        between = weights["between_frames"].to(gathered.dtype)
        return gathered + torch.einsum("mrft,mntrd->mnfrd", between, gathered)

    def _by_frame(
        self, values: Float[Tensor, "members images rank tokens"]
    ) -> Float[Tensor, "members images frames rank positions"]:
        by_frame: Tensor = values.unflatten(3, (self.features.tokens.frames, -1)).transpose(2, 3)
        return by_frame
