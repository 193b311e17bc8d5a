"""Softmax attention of heads with few channels."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from losa.adapt.kernels.library import kernels_for

MOST_CHANNELS = 15
"""The most channels of a head. With more, matrix products are as fast."""


def computes_attention(projected: Float[Tensor, "batch 3 heads channels tokens"]) -> bool:
    """Whether `narrow_attention` is there for such queries, keys and values."""
    fits = projected.dtype == torch.float32 and projected.shape[3] <= MOST_CHANNELS
    return fits and kernels_for(projected) is not None


def narrow_attention(
    projected: Float[Tensor, "batch 3 heads channels tokens"], read: slice
) -> Float[Tensor, "batch heads channels tokens"]:
    """Softmax attention among tokens; zeros at the tokens that nothing reads.

    Args:
        projected: queries, keys and values in float32.
        read: tokens whose result is read. All tokens are attended to.

    Raises:
        MemoryError: there is no memory for the copies of one head.
    """
    attended: Tensor = _NarrowAttention.apply(projected.contiguous(), read)
    return attended


class _NarrowAttention(Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, read: slice) -> Tensor:
        batch, _, heads, channels, tokens = projected.shape
        positions = range(*read.indices(tokens))
        make = projected.new_empty if len(positions) == tokens else projected.new_zeros
        attended = make(batch, heads, channels, tokens)
        statistics = projected.new_empty(batch, heads, 2, len(positions))
        kernels = kernels_for(projected)
        assert kernels is not None, "computes_attention was not asked"
        kernels.attention(projected, positions, attended, statistics)
        ctx.kernels, ctx.positions = kernels, positions
        ctx.save_for_backward(projected, attended, statistics)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        projected, attended, statistics = ctx.saved_tensors
        grad_projected = torch.empty_like(projected)
        if statistics.shape[-1] < projected.shape[-1]:
            grad_projected[:, 0] = 0
        grads = (grad.contiguous(), grad_projected)
        ctx.kernels.attention(projected, ctx.positions, attended, statistics, grads)
        return grad_projected, None
