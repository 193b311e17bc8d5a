"""LayerNorm of sums of two features, in one pass over memory, on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.kernels.cpu_kernels import CpuKernels
from losa.adapt.kernels.library import kernels_for


def computes_normalised_sums(a: Tensor, b: Tensor | None) -> bool:
    """Whether `normalised_sum` is there for such features: decoded activations, or sums of them."""
    given = [a] if b is None else [a, b]
    width = a.shape[-1]
    return (
        all(each.device.type == "cpu" and each.dtype == torch.float32 for each in given)
        and all(each.stride()[1:] == (width, 1) for each in given)
        and isinstance(kernels_for(a), CpuKernels)
    )


def normalised_sum(
    a: Float[Tensor, "images tokens width"],
    b: Float[Tensor, "images tokens width"] | None,
    eps: float,
    *,
    keeps_sum: bool,
) -> tuple[
    Float[Tensor, "images tokens width"],
    Float[Tensor, "images tokens"],
    Float[Tensor, "images tokens width"] | None,
]:
    """LayerNorm of ``a + b`` over the width, its factor ``1 / sqrt(variance + eps)``, and the sum.

    Args:
        a: the features, whose images may be apart from each other.
        b: what is added to them; None for nothing.
        eps: added to the variance.
        keeps_sum: whether the sum is needed; else it is None.
    """
    kernels = kernels_for(a)
    assert isinstance(kernels, CpuKernels), "computes_normalised_sums was not asked"
    normalised = a.new_empty(a.shape)
    scale = a.new_empty(a.shape[:-1])
    total = a.new_empty(a.shape) if keeps_sum else None
    kernels.normalise(a, b, eps, total, normalised, scale)
    return normalised, scale, total
