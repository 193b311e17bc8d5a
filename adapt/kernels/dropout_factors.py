"""The factors of dropout, in one pass over memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from losa.adapt.kernels.library import kernels_for


def computes_factors(values: Tensor) -> bool:
    """Whether `dropout_factors` is there for values on this device."""
    return kernels_for(values) is not None


def dropout_factors(
    keys: Int64[Tensor, "members"],
    least_kept: Int64[Tensor, "members"],
    scales: Float[Tensor, "members"],
    first_image: int,
    shape: tuple[int, ...],
) -> Float[Tensor, "members images *rest"]:
    """The factor of each value, zero or the scale of its member; see `losa.adapt.side_networks.dropout`.

    Args:
        keys: the key of each member's mask.
        least_kept: the least number of a value that is kept.
        scales: the factor of values that are kept.
        first_image: position in the batch of the first image.
        shape: shape of the values, ``(members, images, ...)``.
    """
    factors = torch.empty(shape, dtype=torch.float32, device=keys.device)
    kernels = kernels_for(factors)
    assert kernels is not None, "computes_factors was not asked"
    keys, least_kept, scales = keys.contiguous(), least_kept.contiguous(), scales.float().contiguous()
    kernels.dropout(keys, least_kept, scales, first_image, factors)
    return factors
