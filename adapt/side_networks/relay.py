"""Relay, a side network of our own: content-dependent mixing of tokens at a cost linear in their number.

    a = softmax(G N(x)^T)        p = a N(x)        x += gelu(S N(x)^T + c)^T (w * p)

Each layer has ``rank`` relays. A relay first gathers: it attends over all tokens (a is one distribution over
tokens for each relay) and averages them to one vector of full width (p). Then it scatters: it scales the
channels of this vector (w) and adds it to every token, multiplied by a number that depends on that token.
Both factors of the update depend on the image, unlike those of LoSA's token mixer, and tokens are not
compared in pairs, unlike in LAST.

The stream is that of LAST (arXiv 2402.04009): layer i sees the sum of sites 0 to i, and the output is the
last site plus all updates. docs/relay.md has measurements and the variants that were tried.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import member_constant, member_normal
from losa.adapt.streams import Stream, StreamSites


class Relay(SideNetwork):
    """``rank`` relays for each site: ``3 * width * rank + rank`` parameters per site, and the head."""

    options: ClassVar[tuple[str, ...]] = ("rank", "norm", "pool")
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

    def stream_sites(self) -> StreamSites:
        """Layer i sees ``z_0 + ... + z_i``; the output starts from the last site."""
        return StreamSites.cumulative(len(self.features.sites))

    def step(self, stream: Stream, layer: int, drop: Drop) -> None:
        """Gather, then scatter."""
        both = torch.cat([self.gather[:, layer], self.scatter[:, layer]], dim=1)
        logits, received = stream.project(both).split(self.architecture.rank, dim=2)
        gathered = stream.project_tokens(logits.softmax(dim=-1))
        received = functional.gelu(received + self.scatter_bias[:, layer, None, :, None].to(received.dtype))
        stream.update(drop(received, f"relay.{layer}"), self.scale[:, layer, None] * gathered)
