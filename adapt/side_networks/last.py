"""LAST, low-rank attention side-tuning (arXiv 2402.04009).

    u_i = LSA_i(u_{i-1} + z_i)

z_0, ..., z_m are the cached activations of the sites, and u_{-1} = 0. LSA is a pre-norm multi-head
self-attention in ``rank`` dimensions with a residual connection and without a feed-forward network. Its norm
has a weight and a bias; its projections have no biases. The features that the stream has summed up are
subtracted from the output: ``u_m - sum_{i<m} z_i``, which equals the last site's features plus all updates.
"""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.attention import attend
from losa.adapt.side_networks.base import Drop, SideNetwork
from losa.adapt.side_networks.parameters import member_constant, member_normal
from losa.adapt.streams import Stream, StreamSites


class LAST(SideNetwork):
    """One attention for each site: ``4 * width * rank + 2 * width`` parameters per site, and the head."""

    options: ClassVar[tuple[str, ...]] = ("rank", "heads", "norm", "pool")
    default_dropout: ClassVar[float] = 0.7

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        super().__init__(architecture, features, num_classes, seeds)
        layers, rank, width = len(features.sites), architecture.rank, features.width
        architecture.refuse_uneven_heads()
        self.norm_weight = member_constant(seeds, (layers, width), 1.0)
        self.norm_bias = member_constant(seeds, (layers, width), 0.0)
        self.query_key_value = member_normal(seeds, "query_key_value", (layers, 3 * rank, width), width**-0.5)
        self.up = member_constant(seeds, (layers, rank, width), 0.0)

    def stream_sites(self) -> StreamSites:
        """Layer i sees ``z_0 + ... + z_i``; the output starts from ``z_m``, which makes the subtraction."""
        return StreamSites.cumulative(len(self.features.sites))

    def step(self, stream: Stream, layer: int, drop: Drop) -> None:
        """Attend over the tokens, project up and add."""
        stream.update(drop(self._attend(stream, layer), f"attention.{layer}"), self.up[:, layer])

    def _attend(self, stream: Stream, layer: int) -> Float[Tensor, "members images rank tokens"]:
        projection = self.query_key_value[:, layer]
        # The norm of a stream has no weight and bias, so they are folded into the projection.
        projected = stream.project(self.norm_weight[:, layer, None] * projection)
        projected = projected + (projection @ self.norm_bias[:, layer, :, None])[:, None]
        members, images, _, tokens = projected.shape
        heads = projected.view(members * images, 3, self.architecture.heads, -1, tokens)
        # If these are not contiguous, torch falls back to a kernel that forms all similarities.
        query, key, value = (each.contiguous() for each in heads.mT.unbind(dim=1))
        is_last = layer == len(self.features.sites) - 1
        attended = attend(query, key, value, self.read_tokens(last=is_last), stream.dtype)
        return attended.mT.reshape(members, images, -1, tokens)
