"""The factors of dropout, in one pass over memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from losa.adapt.kernels.library import compiled_for, in_threads

_VALUES_OF_A_SIMILARITY = 2
"""Values in the time of a similarity of attention, by which `in_threads` counts."""


def computes_factors(values: Tensor) -> bool:
    """Whether `dropout_factors` is there for values on this device."""
    return compiled_for(values) is not None


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
    kernels = compiled_for(factors)
    assert kernels is not None
    members, images, *rest = shape
    count = torch.Size(rest).numel()
    each = [value.contiguous() for value in (keys, least_kept, scales.float())]
    addresses = [value.data_ptr() for value in each]
    function, address = kernels.functions.losa_dropout, factors.data_ptr()

    def some(first: int, last: int) -> int:
        failed: int = function(*addresses, first_image * count, images, count, first, last, address)
        return failed

    in_threads(some, members * images, factors.numel() // _VALUES_OF_A_SIMILARITY)
    return factors
