"""Linear combinations of many rows, few for each member and image, on a GPU.

Kernels for processors were tried too, and one for inner products: they were not worth it
(docs/fused-step.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.kernels.gpu_kernels import GpuKernels
from losa.adapt.kernels.library import kernels_for

MOST_ROWS = 16
"""The most combinations of an image; on an H100, matrix products of 24 were as fast."""


def computes_combinations(
    s: Float[Tensor, "members ... rows terms"],
    f: Float[Tensor, "members images terms columns"],
    total: Float[Tensor, "members images rows columns"] | None = None,
) -> bool:
    """Whether `few_combinations` is there for such arguments, without gradients."""
    given = [s, f] if total is None else [s, f, total]
    return (
        f.is_cuda
        and all(each.dtype == torch.float32 and each.device == f.device for each in given)
        and s.shape[-2] <= MOST_ROWS
        and f.stride(-1) == 1
        and not (torch.is_grad_enabled() and any(each.requires_grad for each in given))
        and isinstance(kernels_for(f), GpuKernels)
    )


def few_combinations(
    s: Float[Tensor, "members ... rows terms"],
    f: Float[Tensor, "members images terms columns"],
    total: Float[Tensor, "members images rows columns"] | None = None,
) -> Float[Tensor, "members images rows columns"]:
    """``s f`` by the kernel: few linear combinations of the rows of ``f``, `MOST_ROWS` at most.

    Args:
        s: the coefficients, of each image or for all.
        f: the rows.
        total: earlier combinations, to which these are added; its memory may be used.
    """
    kernels = kernels_for(f)
    assert isinstance(kernels, GpuKernels), "computes_combinations was not asked"
    members, images, terms, columns = f.shape
    rows = s.shape[-2]
    coefficients = (s[:, None] if s.ndim == 3 else s).expand(members, images, rows, terms)
    shape = (members, images, rows, columns)
    result = f.new_empty(shape) if total is None else total.contiguous().view(shape)
    kernels.combine(coefficients, f, add=total is not None, result=result)
    return result
