"""Softmax attention of heads with few channels."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from losa.adapt.kernels.library import Kernels, compiled_for, in_threads

MOST_CHANNELS = 15
"""The most channels of a head. With more, matrix products are as fast."""


def computes_attention(projected: Float[Tensor, "batch 3 heads channels tokens"]) -> bool:
    """Whether `narrow_attention` is there for such queries, keys and values."""
    fits = projected.dtype == torch.float32 and projected.shape[3] <= MOST_CHANNELS
    return fits and compiled_for(projected) is not None


def narrow_attention(
    projected: Float[Tensor, "batch 3 heads channels tokens"], read: slice
) -> Float[Tensor, "batch heads channels tokens"]:
    """Softmax attention among tokens; zeros at the tokens that nothing reads.

    Args:
        projected: queries, keys and values in float32, in the memory of a CPU.
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
        count = len(range(*read.indices(tokens)))
        make = projected.new_empty if count == tokens else projected.new_zeros
        attended = make(batch, heads, channels, tokens)
        statistics = projected.new_empty(batch, heads, 2, count)
        kernels = compiled_for(projected)
        assert kernels is not None, "computes_attention was not asked"
        _compute(kernels, projected, read, attended, statistics, None, None)
        ctx.kernels, ctx.read = kernels, read
        ctx.save_for_backward(projected, attended, statistics)
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        projected, attended, statistics = ctx.saved_tensors
        grad_projected = torch.empty_like(projected)
        if statistics.shape[-1] < projected.shape[-1]:
            grad_projected[:, 0] = 0
        grad = grad.contiguous()
        _compute(ctx.kernels, projected, ctx.read, attended, statistics, grad, grad_projected)
        return grad_projected, None


def _compute(
    kernels: Kernels,
    projected: Tensor,
    read: slice,
    attended: Tensor,
    statistics: Tensor,
    grad: Tensor | None,
    grad_projected: Tensor | None,
) -> None:
    batch, _, heads, channels, tokens = projected.shape
    start, _, step = read.indices(tokens)
    count = statistics.shape[-1]
    shape = (heads, channels, tokens, start, step, count)
    others = (attended, statistics, grad, grad_projected)
    addresses = [None if each is None else each.data_ptr() for each in others]
    attention, address = kernels.functions.losa_attention, projected.data_ptr()

    def some(first: int, last: int) -> int:
        failed: int = attention(address, *shape, first, last, *addresses)
        return failed

    in_threads(some, batch * heads, batch * heads * tokens * count)
