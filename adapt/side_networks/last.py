"""LAST, low-rank attention side-tuning (arXiv 2402.04009).

    u_i = LSA_i(u_{i-1} + z_i)

z_0, ..., z_m are the cached activations of the sites, and u_{-1} = 0. LSA is a pre-norm multi-head
self-attention in ``rank`` dimensions with a residual connection and without a feed-forward network. Its norm
has a weight and a bias; its projections have no biases. The features that the stream has summed up are
subtracted from the output: ``u_m - sum_{i<m} z_i``, which equals the last site's features plus all updates.

For clips of several frames (ours): with ``mixing=factorised`` LSA is the sum of two attentions with the same
norm, one among the positions of each frame, and one among the frames of each position; with ``joint`` it is
one among all tokens of all frames. Attention over time has a `TimeEmbedding` in queries, keys and values.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.attention import attend
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import Weights, member_constant, member_normal
from losa.adapt.side_networks.time_embedding import TimeEmbedding
from losa.adapt.streams import Stream, StreamSites


class LAST(SideNetwork):
    """One attention for each site: ``4 * width * rank + 2 * width`` parameters per site, and the head.

    Over frames there are ``3 * rank * frames`` more; where space and time are factorised, two attentions.
    """

    options: ClassVar[tuple[str, ...]] = ("rank", "heads", "norm", "pool", "mixing", "probe_share")
    product_rows: ClassVar[Literal["rank", "heads"] | None] = "rank"
    default_dropout: ClassVar[float] = 0.7
    attends: ClassVar[bool] = True

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        layers, rank, width = len(features.sites), architecture.rank, features.width
        architecture.refuse_uneven_heads()
        self.norm_weight = member_constant(seeds, (layers, width), 1.0)
        self.norm_bias = member_constant(seeds, (layers, width), 0.0)
        attentions, frames = 1 + self.factorised, features.tokens.frames
        shape = (layers, attentions * 3 * rank, width)
        self.query_key_value = member_normal(seeds, "query_key_value", shape, width**-0.5)
        self.up = member_constant(seeds, (layers, attentions * rank, width), 0.0)
        if frames > 1:
            self.time = TimeEmbedding(seeds, layers, 3 * rank, frames)

    def stream_sites(self) -> StreamSites:
        """Layer i sees ``z_0 + ... + z_i``; the output starts from ``z_m``, which makes the subtraction."""
        return StreamSites.cumulative(len(self.features.sites))

    def layered(self) -> dict[str, Float[Tensor, "members layers ..."]]:
        """The parameters. A stream's norm has no weight and bias: they are folded into the projection."""
        values = super().layered()
        projection = values.pop("query_key_value")
        weight, bias = values.pop("norm_weight"), values.pop("norm_bias")
        values["projection"] = weight[:, :, None] * projection
        values["offset"] = projection @ bias[..., None]
        return values

    def step(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        """Attend over the tokens, project up and add."""
        stream.update(drop(self._attend(stream, layer, weights), f"attention.{layer}"), weights["up"])

    def _attend(
        self, stream: Stream, layer: int, weights: Weights
    ) -> Float[Tensor, "members images rank tokens"]:
        projected = stream.project(weights["projection"]) + weights["offset"][:, None]
        read = self.read_tokens(last=layer == len(self.features.sites) - 1)
        frames = self.features.tokens.frames
        if not self.factorised:
            timed = self.time(projected, weights) if frames > 1 else projected
            return self._among_tokens(timed, read, stream.dtype)
        space, time = projected.chunk(2, dim=2)
        time = self.time(time, weights)
        space, time = (each.unflatten(3, (frames, -1)).movedim(2, -2) for each in (space, time))
        among_positions = self._among_tokens(space.flatten(1, 2), read, stream.dtype).unflatten(
            1, space.shape[1:3]
        )
        time = time.transpose(2, 4)
        among_frames = self._among_tokens(time.flatten(1, 2), slice(None), stream.dtype)
        among_frames = among_frames.unflatten(1, time.shape[1:3])
        both = torch.cat([among_positions, among_frames.transpose(2, 4)], dim=3)
        return both.movedim(2, -2).flatten(3)

    def _among_tokens(
        self, projected: Float[Tensor, "members batch rows tokens"], read: slice, dtype: torch.dtype
    ) -> Float[Tensor, "members batch rank tokens"]:
        """Attention of each item of the batch among its tokens."""
        members, batch, _, tokens = projected.shape
        heads = projected.reshape(members * batch, 3, self.architecture.heads, -1, tokens)
        return attend(heads, read, dtype).reshape(members, batch, -1, tokens)
