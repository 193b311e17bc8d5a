"""The plain stream, the reference for `Factored`: it forms x, and autograd computes all gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.contract import NORM_EPS, StreamSites
from losa.adapt.streams.frozen_features import FrozenFeatures, layer_norm
from losa.adapt.streams.pooling import pooling_weights
from losa.adapt.streams.products import with_images_axis
from losa.cache_format.identity import TokenLayout


class Materialised:
    """A `Stream` that forms x. It has all norms, among them the exact LayerNorm of x."""

    def __init__(
        self,
        features: FrozenFeatures,
        sites: StreamSites,
        *,
        members: int,
        norm: Norm,
        tokens: TokenLayout,
    ) -> None:
        """Start a stream.

        Args:
            features: the frozen features.
            sites: the sites that each layer and the output start from.
            members: length of the members axis.
            norm: ``layer`` normalises x over its width. ``frozen`` does so with the mean and variance of
                ``base_i`` alone, which is the same until the first update and linear in x. ``none``
                leaves x as it is.
            tokens: layout of the tokens, for pooling.
        """
        self._norm = norm
        self._tokens = tokens
        self._dtype = features.dtype
        self._bases = list(features.sums(sites))
        self._base = self._output = features.activations[:, sites.output]
        self._updates = self._base.new_zeros(members, *self._base.shape, dtype=self._dtype)

    @property
    def dtype(self) -> torch.dtype:
        """See `Stream`."""
        return self._dtype

    def enter(self, layer: int) -> None:
        """See `Stream`."""
        self._base = self._bases[layer]

    def project(
        self, weight: Float[Tensor, "members rank width"]
    ) -> Float[Tensor, "members images rank tokens"]:
        """See `Stream`."""
        return weight[:, None].to(self._dtype) @ self._normalised().mT

    def project_tokens(
        self, weight: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images rank width"]:
        """See `Stream`."""
        return with_images_axis(weight).to(self._dtype) @ self._normalised()

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """See `Stream`."""
        update = with_images_axis(u).to(self._dtype).mT @ with_images_axis(v).to(self._dtype)
        self._updates = self._updates + update

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        weights = pooling_weights(kind, self._tokens, self._output)
        return weights @ (self._output + self._updates)

    def _normalised(self) -> Float[Tensor, "members images tokens width"]:
        x = self._base + self._updates
        if self._norm == "layer":
            x = layer_norm(x)
        elif self._norm == "frozen":
            variance, mean = torch.var_mean(self._base, dim=-1, keepdim=True, correction=0)
            x = (x - mean) * torch.rsqrt(variance + NORM_EPS)
        return x.to(self._dtype)
