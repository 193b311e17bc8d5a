"""Products of few rows with many, for each member and image, on a GPU.

A processor's libraries are about as fast as kernels of our own would be (docs/sweeps.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.kernels.gpu_kernels import GpuKernels
from losa.adapt.kernels.library import kernels_for

MOST_ROWS = 32
"""The most rows of the thin factor: a thread keeps a sum for each of them."""


def computes_products(
    thin: Float[Tensor, "members ... rows _"], other: Float[Tensor, "members images _ _"]
) -> bool:
    """Whether `combined` and `inner_products` are there for such factors; they have no gradients."""
    return (
        other.is_cuda
        and thin.dtype == other.dtype == torch.float32
        and thin.shape[-2] <= MOST_ROWS
        and other.stride(-1) == 1
        and not (torch.is_grad_enabled() and (thin.requires_grad or other.requires_grad))
        and isinstance(kernels_for(other), GpuKernels)
    )


def combined(
    s: Float[Tensor, "members ... rows terms"],
    f: Float[Tensor, "members images terms columns"],
    total: Float[Tensor, "members images rows columns"] | None = None,
) -> Float[Tensor, "members images rows columns"]:
    """``s f``: linear combinations of the rows of ``f``.

    Args:
        s: the coefficients, of each image or for all.
        f: the rows.
        total: earlier combinations, to which these are added; its memory may be used.
    """
    result = f.new_empty(*f.shape[:2], s.shape[-2], f.shape[-1]) if total is None else total.contiguous()
    _kernels(f).combine(_for_each_image(s, f), f, add=total is not None, result=result)
    return result


def inner_products(
    a: Float[Tensor, "members ... rows columns"], f: Float[Tensor, "members images others columns"]
) -> Float[Tensor, "members images rows others"]:
    """``a f^T``: inner products of all rows of ``a``, of each image or for all, with all rows of ``f``."""
    if a.stride(-1) != 1:
        a = a.contiguous()
    result = f.new_empty(*f.shape[:2], a.shape[-2], f.shape[-2])
    _kernels(f).inner(_for_each_image(a, f), f, result=result)
    return result


def _for_each_image(thin: Tensor, other: Tensor) -> Tensor:
    each = thin[:, None] if thin.ndim == 3 else thin
    return each.expand(-1, other.shape[1], -1, -1)


def _kernels(values: Tensor) -> GpuKernels:
    kernels = kernels_for(values)
    assert isinstance(kernels, GpuKernels), "computes_products was not asked"
    return kernels
