"""The attentive probe, after efficient probing (arXiv 2506.10178).

    a_h = softmax over tokens of q_h . x_t / sqrt(width)        pooled_h = block h of sum_t a_ht x_t

As published: there are ``heads`` learned queries of the full width, applied to the features without query or
key projections; each query pools its own block of width/heads channels, and the concatenated blocks are
classified; the scale is 1/sqrt(width); the queries are initialised from a normal distribution with standard
deviation 0.02, so that at first all tokens have about the same weight. Ours: the published probe projects the
values (width x width), here the features themselves are pooled, so that only the queries and the head are
trained; the features are normalised; all tokens of the last site are attended to; the backbone's final norm
comes before the head. ``probe_share``, which is ours too, has a default because the probe alone is below the
linear probe on some photographs.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import member_normal
from losa.adapt.streams import Stream, StreamSites
from losa.cache_format.errors import LosaError

QUERY_STD = 0.02
"""Standard deviation of the initial queries."""


class AttentiveProbe(SideNetwork):
    """Learned queries over the tokens of the last site: ``heads * width`` parameters, and the head."""

    options: ClassVar[tuple[str, ...]] = ("heads", "norm", "probe_share")
    probe_options: ClassVar[tuple[str, ...]] = ("pool",)
    product_rows: ClassVar[Literal["rank", "heads"] | None] = "heads"
    default_probe_share: ClassVar[float] = 0.5
    reads_last_site_only: ClassVar[bool] = True
    sees_updates: ClassVar[bool] = False

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        heads, width = architecture.heads, features.width
        if width % heads:
            raise LosaError(f"heads={heads}: side=attentive needs a divisor of the features' width, {width}")
        self.query = member_normal(seeds, "query", (heads, width), QUERY_STD)

    def stream_sites(self) -> StreamSites:
        """One layer, whose input is the last site."""
        last = len(self.features.sites) - 1
        return StreamSites(layers=((last,),), output=last)

    def pooled(self, stream: Stream, drop: Drop) -> Float[Tensor, "members images width"]:
        """The block of channels of each head, averaged over tokens by its attention."""
        stream.enter(0)
        heads, width = self.query.shape[1:]
        # In float32 at least: a softmax of rounded logits would lose more precision than the product did.
        logits = stream.project(self.query * width**-0.5).to(self.query.dtype)
        pooled = stream.project_tokens(drop(logits.softmax(dim=-1), "attention"))
        blocks = pooled.unflatten(-1, (heads, width // heads))
        own = torch.diagonal(blocks, dim1=2, dim2=3).mT
        return own.flatten(2).to(self.query.dtype)
