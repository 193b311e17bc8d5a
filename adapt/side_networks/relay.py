"""Relay, a side network of our own: content-dependent mixing of tokens at a cost linear in their number.

    a = softmax(G N(x)^T)        p = a N(x)        x += gelu(S N(x)^T + c)^T (w * p)

Each layer has ``rank`` relays. A relay gathers: it attends over all tokens (a, one distribution over tokens
for each relay) and reads one vector of full width (p). It scales the channels of what it read (w) and
scatters: every token takes as much of it as its own content asks for. Both factors of the update depend on
the image, which LoSA's token mixer does not do, and no token is compared with every other, as in LAST.

The stream is that of LAST (arXiv 2402.04009): layer i sees the sum of the sites up to its own, and the output
is the last site plus all updates. Measured against LoSA and LAST in docs/methods.md.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch.nn import functional

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import member_constant, member_normal
from losa.adapt.streams import Stream, StreamCourse


class Relay(SideNetwork):
    """``rank`` relays for every site: ``3 * width * rank + rank`` parameters."""

    options: ClassVar[tuple[str, ...]] = ("rank", "norm", "pool")

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        layers, rank, width = len(features.sites), architecture.rank, features.width
        self.gather = member_normal(seeds, "gather", (layers, rank, width), width**-0.5)
        self.scatter = member_normal(seeds, "scatter", (layers, rank, width), width**-0.5)
        self.scatter_bias = member_constant(seeds, (layers, rank), 0.0)
        self.scale = member_constant(seeds, (layers, rank, width), 0.0)

    def course(self) -> StreamCourse:
        """Layer i sees ``z_0 + ... + z_i``; the output starts from the last site."""
        return StreamCourse.accumulating(len(self.features.sites))

    def step(self, stream: Stream, layer: int, drop: Drop) -> None:
        """Gather and scatter."""
        both = torch.cat([self.gather[:, layer], self.scatter[:, layer]], dim=1)
        logits, taken = stream.project(both).split(self.architecture.rank, dim=2)
        gathered = stream.project_tokens(logits.softmax(dim=-1))
        taken = functional.gelu(taken + self.scatter_bias[:, layer, None, :, None].to(taken.dtype))
        stream.update(drop(taken, f"relay.{layer}"), self.scale[:, layer, None] * gathered)
