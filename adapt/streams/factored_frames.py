"""The fast stream for updates within the frames of clips: x is never formed.

It is a `Factored` stream that takes each frame for an image.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.contract import StreamSites
from losa.adapt.streams.factored import Factored
from losa.adapt.streams.frames_as_images import FramesAsImages
from losa.adapt.streams.frozen_features import FrozenFeatures
from losa.cache_format.identity import TokenLayout


class FactoredFrames:
    """A `FrameStream` that never forms x. It has the norms that are linear in x: ``frozen`` and ``none``."""

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
        self._images = (features.images, tokens.frames)

    @property
    def dtype(self) -> torch.dtype:
        """See `Stream`."""
        return self._within.dtype

    def enter(self, layer: int) -> None:
        """See `Stream`."""
        self._within.enter(layer)

    def project(
        self, weight: Float[Tensor, "members rank width"]
    ) -> Float[Tensor, "members images rank tokens"]:
        """See `Stream`."""
        return self._by_frame(self._within.project(weight)).transpose(2, 3).flatten(3)

    def project_tokens(
        self, weight: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images rank width"]:
        """See `Stream`."""
        return self.project_space(self._split(weight)).sum(dim=2)

    def project_space(
        self, weight: Float[Tensor, "members ... positions"]
    ) -> Float[Tensor, "members images frames rank width"]:
        """See `FrameStream`."""
        return self._by_frame(self._within.project_tokens(_flat(weight)))

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """See `Stream`."""
        if v.ndim == 4:
            v = v[:, :, None].expand(-1, -1, self._images[1], -1, -1)
        self._within.update(_flat(self._split(u)), _flat(v))

    def update_space(
        self,
        u: Float[Tensor, "members ... positions"],
        v: Float[Tensor, "members images frames rank width"],
    ) -> None:
        """See `FrameStream`."""
        self._within.update(_flat(u), _flat(v))

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        return self._by_frame(self._within.pool(kind)).mean(dim=2)

    def _split(
        self, factor: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images frames rank positions"]:
        """A factor over all tokens, frame by frame."""
        by_frame: Tensor = factor.unflatten(-1, (self._images[1], -1)).transpose(-3, -2)
        return by_frame if factor.ndim == 4 else by_frame[:, None].expand(-1, self._images[0], -1, -1, -1)

    def _by_frame(self, result: Tensor) -> Tensor:
        """A result of the stream within frames, with axes of images and frames."""
        by_frame: Tensor = result.unflatten(1, self._images)
        return by_frame


def _flat(factor: Tensor) -> Tensor:
    """A factor whose axes of images and frames, if it has them, are one."""
    return factor.flatten(1, 2) if factor.ndim == 5 else factor
