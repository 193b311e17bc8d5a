"""Frozen features of clips, seen as those of as many images as the clips have frames."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, dtype

from losa.adapt.architecture import Norm
from losa.adapt.streams.contract import StreamSites
from losa.adapt.streams.frozen_features import FrozenFeatures, NormalisedBase


@dataclass(frozen=True, slots=True)
class FramesAsImages:
    """What `Factored` needs of `FrozenFeatures`; the bases are those of the clips, not copies of them."""

    features: FrozenFeatures
    frames: int
    """Number of frames of a clip."""

    @property
    def images(self) -> int:
        """Number of frames of all clips."""
        return self.features.images * self.frames

    @property
    def dtype(self) -> dtype:
        """Dtype in which products are computed."""
        return self.features.dtype

    def bases(self, sites: StreamSites, norm: Norm) -> list[NormalisedBase]:
        """The normalised base of each layer."""
        return [
            NormalisedBase(
                self._split(base.normalised), None if base.scale is None else self._split(base.scale)
            )
            for base in self.features.bases(sites, norm)
        ]

    def output(self, site: int) -> Float[Tensor, "images tokens width"]:
        """The activations of a site."""
        return self._split(self.features.output(site))

    def _split(self, of_clips: Tensor) -> Tensor:
        return of_clips.reshape(self.images, -1, *of_clips.shape[2:])
