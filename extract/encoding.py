"""Encodes activations on the compute device, with statistics of every site, and refuses non-finite values."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from losa.cache_format.codecs import Codes
from losa.cache_format.codecs.torch_codecs import DeviceCodec, DeviceCodes
from losa.cache_format.shards.statistics import SiteStatistics
from losa.extract.non_finite import refuse_non_finite, refuse_overflow


def encode(
    codec: DeviceCodec, activations: Float[Tensor, "images sites tokens width"], sites: Sequence[str]
) -> tuple[Codes, list[SiteStatistics]]:
    """Encode a batch.

    Returns:
        The codes, on the host, and the statistics of every site, which are empty for a batch without images.

    Raises:
        NonFiniteActivations: the backbone or the codec gave NaN or infinity; the message names the site.
    """
    if not len(activations):
        return codec.encode(activations.float()).to_host(), []
    # On the CPU image by image, because the arrays of one image fit into the processor's caches.
    step = 1 if activations.device.type == "cpu" else len(activations)
    parts = [_encode(codec, part.float()) for part in activations.split(step)]
    codes = [codes for codes, _ in parts]
    scales = [part.scales for part in codes if part.scales is not None]
    joined = DeviceCodes(torch.cat([part.values for part in codes]), torch.cat(scales) if scales else None)
    measured = torch.cat([measures for _, measures in parts], dim=1).cpu()
    if not torch.isfinite(measured).all():
        _refuse_non_finite(codec, activations.float(), sites)
    low, high, energy, error = measured.unbind()
    count = activations[:, 0].numel()
    statistics = [
        SiteStatistics(
            count=count,
            minimum=low[:, index].min().item(),
            maximum=high[:, index].max().item(),
            sum_squares=energy[:, index].sum().item(),
            error_sum_squares=error[:, index].sum().item(),
        )
        for index in range(len(sites))
    ]
    return joined.to_host(), statistics


def _encode(
    codec: DeviceCodec, activations: Float[Tensor, "images sites tokens width"]
) -> tuple[DeviceCodes, Float64[Tensor, "four images sites"]]:
    """Codes; and minimum, maximum, sum of squares and sum of squared errors of every image and site."""
    codes = codec.encode(activations)
    rows = activations.flatten(2)
    energy = _sum_squares(rows)
    if codec.name == "float32":
        error = torch.zeros_like(energy)
    else:
        error = _sum_squares(codec.decode(codes).sub_(activations).flatten(2))
    return codes, torch.stack([rows.amin(-1).double(), rows.amax(-1).double(), energy, error])


def _refuse_non_finite(codec: DeviceCodec, activations: Tensor, sites: Sequence[str]) -> None:
    decoded = codec.decode(codec.encode(activations))
    for index, site in enumerate(sites):
        refuse_non_finite(site, _count_non_finite(activations[:, index]))
        refuse_overflow(codec.name, site, _count_non_finite(decoded[:, index]))


def _count_non_finite(values: Tensor) -> int:
    return int((~values.isfinite()).sum())


def _sum_squares(rows: Float[Tensor, "images sites values"]) -> Float64[Tensor, "images sites"]:
    """Sums of squares in float64, from norms in float32, whose relative error is near 1e-6."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    if not torch.isfinite(norms).all():
        # Values beyond 1e19 have squares that float32 cannot hold.
        norms = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float64)
    return norms.double().square()
