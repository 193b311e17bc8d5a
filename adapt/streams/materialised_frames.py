"""The plain stream over space and time, the reference for `FactoredFrames`."""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.streams.materialised import Materialised


class MaterialisedFrames(Materialised):
    """A `FrameStream` that forms x. It has all norms, among them the exact LayerNorm of x."""

    def project_space(
        self, weight: Float[Tensor, "members ... positions"]
    ) -> Float[Tensor, "members images frames rank width"]:
        """See `FrameStream`."""
        return _with_frames(weight).to(self._dtype) @ self._by_frame(self._normalised())

    def project_time(
        self, weight: Float[Tensor, "members rank frames"]
    ) -> Float[Tensor, "members images rank positions width"]:
        """See `FrameStream`."""
        x = self._by_frame(self._normalised())
        return torch.einsum("mrf,mnfpd->mnrpd", weight.to(self._dtype), x)

    def update_space(
        self,
        u: Float[Tensor, "members ... positions"],
        v: Float[Tensor, "members images frames rank width"],
    ) -> None:
        """See `FrameStream`."""
        update = _with_frames(u).to(self._dtype).mT @ v.to(self._dtype)
        self._updates = self._updates + update.flatten(2, 3)

    def update_time(
        self,
        u: Float[Tensor, "members rank frames"],
        v: Float[Tensor, "members images rank positions width"],
    ) -> None:
        """See `FrameStream`."""
        update = torch.einsum("mrf,mnrpd->mnfpd", u.to(self._dtype), v.to(self._dtype))
        self._updates = self._updates + update.flatten(2, 3)

    def _by_frame(self, x: Tensor) -> Float[Tensor, "members images frames positions width"]:
        by_frame: Tensor = x.unflatten(2, (self._tokens.frames, -1))
        return by_frame


def _with_frames(factor: Float[Tensor, "members ... positions"]) -> Tensor:
    """A factor with axes of images and frames; those that it did not have before have length one."""
    return factor[:, None, None] if factor.ndim == 3 else factor
