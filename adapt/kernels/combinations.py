"""Linear combinations of many rows, few for each member and image, on a GPU.

A processor's libraries are about as fast as kernels of our own would be, and so are those of a GPU for inner
products (docs/sweeps.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.kernels.gpu_kernels import GpuKernels
from losa.adapt.kernels.library import kernels_for

MOST_ROWS = 16
"""The most combinations of an image. With more, matrix products are as fast."""


def computes_combinations(
    s: Float[Tensor, "members ... rows terms"], f: Float[Tensor, "members images terms columns"]
) -> bool:
    """Whether `combined` is there for such factors, without gradients."""
    return (
        f.is_cuda
        and s.dtype == f.dtype == torch.float32
        and s.shape[-2] <= MOST_ROWS
        and f.stride(-1) == 1
        and not (torch.is_grad_enabled() and (s.requires_grad or f.requires_grad))
        and isinstance(kernels_for(f), GpuKernels)
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
    kernels = kernels_for(f)
    assert isinstance(kernels, GpuKernels), "computes_combinations was not asked"
    images = f.shape[1]
    result = f.new_empty(*f.shape[:2], s.shape[-2], f.shape[-1]) if total is None else total.contiguous()
    coefficients = s[:, None] if s.ndim == 3 else s
    kernels.combine(coefficients.expand(-1, images, -1, -1), f, add=total is not None, result=result)
    return result
