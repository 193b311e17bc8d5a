"""LST, Ladder Side-Tuning (arXiv 2206.06522).

    h_0 = D_0 z_0        h_i = block_i(g_i D_i z_i + (1 - g_i) h_{i-1})        g_i = sigmoid(a_i / T)

z_i are the cached activations of the sites, D_i projections down to ``rank`` dimensions, and block_i the
transformer blocks of a small network beside the backbone.

As published (the paper and its authors' code): the ladder, a gate for each block with T = 0.1 and a_i = 0 at
the start, projections without biases, a norm after the last block, a projection up to the backbone's width.
There the blocks are smaller copies of the backbone's (T5, a language model), start from its pruned weights,
and the result of the projection up replaces the backbone's output. Ours: randomly initialised pre-norm blocks
as in a vision transformer (multi-head attention and an MLP of four times the rank, GELU, LayerNorms with
weight and bias, no other biases); the result is added to the last site and the projection up starts at zero,
so that the network starts as the backbone; the features are normalised before D_i; dropout before the
projection up.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.attention import attend
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import Weights, by_layer, member_constant, member_normal
from losa.adapt.streams import Stream, StreamSites
from losa.adapt.streams.frozen_features import layer_norm
from losa.adapt.streams.products import combine, inner

TEMPERATURE = 0.1
"""Temperature T of the gates."""
EXPANSION = 4
"""Hidden units of a block's MLP, as a multiple of the rank."""

Hidden = Float[Tensor, "members images tokens rank"]


class LST(SideNetwork):
    """One projection for each site, and one block for each site but the first.

    ``(sites + 1) * width * rank + (sites - 1) * (12 * rank^2 + 4 * rank + 1) + 2 * rank`` parameters, and the
    head.
    """

    options: ClassVar[tuple[str, ...]] = ("rank", "heads", "norm", "pool", "probe_share")
    product_rows: ClassVar[Literal["rank", "heads"] | None] = "rank"
    default_rank: ClassVar[int] = 16
    default_dropout: ClassVar[float] = 0.5
    default_probe_share: ClassVar[float] = 0.5
    sees_updates: ClassVar[bool] = False
    attends: ClassVar[bool] = True

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        sites, rank, width = len(features.sites), architecture.rank, features.width
        architecture.refuse_uneven_heads()
        blocks, units, std = sites - 1, EXPANSION * rank, rank**-0.5
        self.down = member_normal(seeds, "down", (sites, rank, width), width**-0.5)
        self.gate = member_constant(seeds, (blocks,), 0.0)
        self.attention_norm_weight = member_constant(seeds, (blocks, rank), 1.0)
        self.attention_norm_bias = member_constant(seeds, (blocks, rank), 0.0)
        self.query_key_value = member_normal(seeds, "query_key_value", (blocks, 3 * rank, rank), std)
        self.attention_out = member_normal(seeds, "attention_out", (blocks, rank, rank), std)
        self.mlp_norm_weight = member_constant(seeds, (blocks, rank), 1.0)
        self.mlp_norm_bias = member_constant(seeds, (blocks, rank), 0.0)
        self.mlp_in = member_normal(seeds, "mlp_in", (blocks, units, rank), std)
        self.mlp_out = member_normal(seeds, "mlp_out", (blocks, rank, units), units**-0.5)
        self.last_norm_weight = member_constant(seeds, (rank,), 1.0)
        self.last_norm_bias = member_constant(seeds, (rank,), 0.0)
        self.up = member_constant(seeds, (rank, width), 0.0)

    def stream_sites(self) -> StreamSites:
        """Layer i sees ``z_i`` alone; the output starts from the last site."""
        sites = len(self.features.sites)
        return StreamSites(layers=tuple((site,) for site in range(sites)), output=sites - 1)

    def layered(self) -> dict[str, Float[Tensor, "members layers ..."]]:
        """What the blocks compute with: their parameters, and their gates."""
        others = ("down", "last_norm_weight", "last_norm_bias", "up")
        values = {name: value for name, value in super().layered().items() if name not in others}
        return values | {"gate": torch.sigmoid(self.gate / TEMPERATURE)}

    def pooled(self, stream: Stream, drop: Drop) -> Float[Tensor, "members images width"]:
        """Go through the blocks, project up and add to the last site."""
        down = self.down.unbind(dim=1)
        hidden = self._projected(stream, 0, down[0])
        for block, weights in enumerate(by_layer(self.layered())):
            gate = weights["gate"][:, None, None, None]
            hidden = gate * self._projected(stream, block + 1, down[block + 1]) + (1 - gate) * hidden
            hidden = hidden + self._attend(hidden, block, weights, stream.dtype)
            hidden = hidden + self._mix(hidden, weights)
        hidden = drop(_normalise(hidden, self.last_norm_weight, self.last_norm_bias), "up")
        stream.update(hidden.mT, self.up)
        return stream.pool(self.architecture.pool)

    @staticmethod
    def _projected(stream: Stream, site: int, down: Float[Tensor, "members rank width"]) -> Hidden:
        stream.enter(site)
        return stream.project(down).mT.to(down.dtype)

    def _attend(self, hidden: Hidden, block: int, weights: Weights, dtype: torch.dtype) -> Hidden:
        members, images, tokens, _ = hidden.shape
        hidden = _normalise(hidden, weights["attention_norm_weight"], weights["attention_norm_bias"])
        projected = combine(weights["query_key_value"], hidden.mT)
        heads = projected.reshape(members * images, 3, self.architecture.heads, -1, tokens)
        is_last = block == len(self.features.sites) - 2
        attended = attend(heads, self.read_tokens(last=is_last), dtype)
        together = attended.reshape(members, images, -1, tokens).mT
        return inner(together, weights["attention_out"])

    @staticmethod
    def _mix(hidden: Hidden, weights: Weights) -> Hidden:
        hidden = _normalise(hidden, weights["mlp_norm_weight"], weights["mlp_norm_bias"])
        units = functional.gelu(inner(hidden, weights["mlp_in"]))
        return inner(units, weights["mlp_out"])


def _normalise(
    hidden: Hidden, weight: Float[Tensor, "members rank"], bias: Float[Tensor, "members rank"]
) -> Hidden:
    return layer_norm(hidden) * weight[:, None, None] + bias[:, None, None]
