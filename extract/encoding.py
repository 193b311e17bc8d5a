"""From activations on the device to codes on the host, measured and checked on the way."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from losa.cache_format.codecs import Codes, refuse_non_finite
from losa.cache_format.device_codecs import DeviceCodec
from losa.cache_format.statistics import SiteStatistics


def encode(
    codec: DeviceCodec, activations: Float[Tensor, "images sites tokens width"], sites: Sequence[str]
) -> tuple[Codes, list[SiteStatistics]]:
    """Encode a batch and measure every site; there are no statistics of a batch without images.

    Raises:
        NonFiniteActivations: NaN or infinity, from the backbone or from the codec; the site is named.
    """
    activations = activations.float()
    codes = codec.encode(activations)
    if not len(activations):
        return codes.to_host(), []
    energy = _sum_squares(activations)
    error = torch.zeros_like(energy)
    if codec.name != "float32":
        error = _sum_squares(codec.decode(codes) - activations)
    if not torch.isfinite(energy + error).all():
        decoded = codec.decode(codes)
        for index, site in enumerate(sites):
            bad = int((~activations[:, index].isfinite()).sum())
            refuse_non_finite(codec.name, site, bad, int((~decoded[:, index].isfinite()).sum()))
    flat = activations.transpose(0, 1).flatten(1)
    low, high = flat.amin(1).tolist(), flat.amax(1).tolist()
    statistics = [
        SiteStatistics(
            count=flat.shape[1],
            minimum=low[index],
            maximum=high[index],
            sum_squares=energy[index].item(),
            error_sum_squares=error[index].item(),
        )
        for index in range(len(sites))
    ]
    return codes.to_host(), statistics


def _sum_squares(values: Float[Tensor, "images sites tokens width"]) -> Tensor:
    """Per site, accumulated in float64 so that large activations do not overflow."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=(0, 2, 3), dtype=torch.float64)
    return norms.square()
