"""The fast stream over space and time: x is never kept.

Within the frames it is a `Factored` stream that takes each frame for an image. Updates along time are kept
beside it, as they are not thin in space:

    x_tp += sum_r u_rt v_rp        u: rank x frames        v: rank x positions x width

All products distribute over them, as over the updates within frames. A product along time is a sum over
frames of the base, and of every update. Its result has a vector for each position, as large as x divided by
frames/rank, which is what a mixer along time works on. Updates and products along different axes do not stay
thin: `formed_product`.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.contract import StreamSites, pooling_weights
from losa.adapt.streams.factored import Factored
from losa.adapt.streams.formed_product import Update, formed_product
from losa.adapt.streams.frames_as_images import FramesAsImages
from losa.adapt.streams.frozen_features import FrozenFeatures, NormalisedBase
from losa.adapt.streams.products import combine
from losa.cache_format.identity import TokenLayout


class _Shared(NamedTuple):
    """An update within frames whose v all images and frames share."""

    u: Float[Tensor, "members ... rank positions"]
    v: Float[Tensor, "members rank width"]


class FactoredFrames:
    """A `FrameStream` that never keeps x. It has the norms that are linear in x: ``frozen`` and ``none``."""

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
            norm: ``frozen`` or ``none``; see `Materialised`.
            tokens: layout of the tokens, for frames and for pooling.
        """
        by_frame = FramesAsImages(features, tokens.frames)
        self._within = Factored(by_frame, sites, members=members, norm=norm, tokens=replace(tokens, frames=1))
        self._bases = by_frame.bases(sites, norm)
        self._base: NormalisedBase | None = None
        self._tokens = tokens
        self._dtype = features.dtype
        self._images = (features.images, tokens.frames)
        self._shared: list[_Shared] = []
        self._of_frames: list[Update] = []
        self._over_time: list[Update] = []

    @property
    def dtype(self) -> torch.dtype:
        """See `Stream`."""
        return self._dtype

    def enter(self, layer: int) -> None:
        """See `Stream`."""
        self._within.enter(layer)
        self._base = self._bases[layer]

    def project(
        self, weight: Float[Tensor, "members rank width"]
    ) -> Float[Tensor, "members images rank tokens"]:
        """See `Stream`."""
        result = self._by_frame(self._within.project(weight)).transpose(2, 3)
        scale = self._scale()
        for u, v in self._over_time:
            inner = v @ weight.to(self._dtype)[:, None, None].mT
            term = torch.einsum("mRf,mnRpr->mnrfp", u, inner)
            result = result + (term if scale is None else term * scale[:, None])
        return result.flatten(3)

    def project_tokens(
        self, weight: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images rank width"]:
        """See `Stream`."""
        return self.project_space(self._split(weight)).sum(dim=2)

    def project_space(
        self, weight: Float[Tensor, "members ... positions"]
    ) -> Float[Tensor, "members images frames rank width"]:
        """See `FrameStream`."""
        result = self._by_frame(self._within.project_tokens(_flat(weight)))
        if not self._over_time:
            return result
        rows = self._of_each_frame(weight.to(self._dtype))
        return result + formed_product(rows, self._over_time, self._scale(), "space")

    def project_time(
        self, weight: Float[Tensor, "members rank frames"]
    ) -> Float[Tensor, "members images rank positions width"]:
        """See `FrameStream`."""
        assert self._base is not None, "a layer was entered"
        weight = weight.to(self._dtype)
        base = self._base.normalised.unflatten(0, self._images)
        # torch.matmul would copy the base.
        summed = torch.bmm(weight.flatten(0, 1).expand(len(base), -1, -1), base.flatten(2))
        result: Tensor = summed.unflatten(1, weight.shape[:2]).transpose(0, 1).unflatten(3, base.shape[2:])
        scale = self._scale()
        for u, v in self._shared:
            u = self._of_each_frame(u)
            u = u if scale is None else u * scale[:, :, None]
            # One product of all frames, because they share v.
            coefficients = torch.einsum("mrf,mnfRp->mnrpR", weight, u)
            result = result + combine(coefficients.flatten(2, 3), v).view_as(result)
        if updates := self._of_frames + self._over_time:
            result = result + formed_product(weight, updates, scale, "time")
        return result

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """See `Stream`."""
        if v.ndim == 4:
            v = v[:, :, None].expand(-1, -1, self._tokens.frames, -1, -1)
        self._update(self._split(u), v)

    def update_space(
        self,
        u: Float[Tensor, "members ... positions"],
        v: Float[Tensor, "members images frames rank width"],
    ) -> None:
        """See `FrameStream`."""
        self._update(u, v)

    def update_time(
        self,
        u: Float[Tensor, "members rank frames"],
        v: Float[Tensor, "members images rank positions width"],
    ) -> None:
        """See `FrameStream`."""
        self._over_time.append(Update(u.to(self._dtype), v.to(self._dtype)))

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        pooled = self._by_frame(self._within.pool(kind)).mean(dim=2)
        if not self._over_time:
            return pooled
        weights = pooling_weights(kind, self._tokens, pooled.device).to(pooled)
        weights = weights.view(self._tokens.frames, -1)
        for u, v in self._over_time:
            pooled = pooled + torch.einsum("fp,mRf,mnRpd->mnd", weights, u, v)
        return pooled

    def _update(self, u: Tensor, v: Tensor) -> None:
        u, v = u.to(self._dtype), v.to(self._dtype)
        self._within.update(_flat(u), _flat(v))
        if v.ndim == 3:
            self._shared.append(_Shared(u, v))
        else:
            self._of_frames.append(Update(self._of_each_frame(u), v))

    def _split(
        self, factor: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images frames rank positions"]:
        """A factor over all tokens, frame by frame."""
        by_frame: Tensor = factor.unflatten(-1, (self._tokens.frames, -1)).transpose(-3, -2)
        return by_frame if factor.ndim == 4 else by_frame[:, None].expand(-1, self._images[0], -1, -1, -1)

    def _of_each_frame(
        self, factor: Float[Tensor, "members ... positions"]
    ) -> Float[Tensor, "members images frames rank positions"]:
        """A factor within frames, with axes of images and frames."""
        return factor[:, None, None].expand(-1, *self._images, -1, -1) if factor.ndim == 3 else factor

    def _by_frame(self, result: Tensor) -> Tensor:
        """A result of the stream within frames, with axes of images and frames."""
        by_frame: Tensor = result.unflatten(1, self._images)
        return by_frame

    def _scale(self) -> Float[Tensor, "images frames positions"] | None:
        """Factor by which the norm multiplies updates of each token; None for 1."""
        if self._base is None or self._base.scale is None:
            return None
        scale: Tensor = self._base.scale.unflatten(0, self._images)
        return scale


def _flat(factor: Tensor) -> Tensor:
    """A factor whose axes of images and frames, if it has them, are one."""
    return factor.flatten(1, 2) if factor.ndim == 5 else factor
