"""Self-attention of side networks, computed only for the tokens whose result is read."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.kernels import computes_attention, narrow_attention

MOST_ROWS = 65_535
"""The most pairs of batch and head of one launch: a limit of the grid of torch's CUDA kernels."""
GPU_CHANNELS = 8
"""Fused kernels on a GPU take heads of a multiple of so many channels; any other number gets the one that
forms all similarities."""


def attend(
    projected: Float[Tensor, "batch 3 heads channels tokens"], read: slice, dtype: torch.dtype
) -> Float[Tensor, "batch heads channels tokens"]:
    """Softmax attention; zeros at the tokens that nothing reads.

    Members and images share the batch axis, because torch's fused attention takes four axes.

    Args:
        projected: queries, keys and values.
        read: tokens whose result is read. All tokens are attended to.
        dtype: dtype of torch's products on a GPU. On a CPU it is that of the arguments, which is faster.
    """
    if computes_attention(projected):
        return narrow_attention(projected, read)
    computed, multiple = (dtype, GPU_CHANNELS) if projected.is_cuda else (projected.dtype, 1)
    # If these are not contiguous, torch falls back to a kernel that forms all similarities.
    query, key, value = projected.mT.movedim(1, 0).contiguous().to(computed).unbind()
    attended = fused_attention(query[:, :, read], key, value, multiple).to(projected.dtype)
    if attended.shape == query.shape:
        return attended.mT
    everywhere = torch.zeros_like(query, dtype=projected.dtype)
    everywhere[:, :, read] = attended
    return everywhere.mT


def fused_attention(
    query: Float[Tensor, "batch heads read channels"],
    key: Float[Tensor, "batch heads tokens channels"],
    value: Float[Tensor, "batch heads tokens channels"],
    multiple: int,
) -> Float[Tensor, "batch heads read channels"]:
    """Softmax attention by torch's kernels, in several launches if the batch is large.

    Args:
        query: the queries.
        key: the keys.
        value: the values.
        multiple: channels are added until each head has a multiple of so many. They are zeros, which add
            nothing to a similarity, and their results are left out.
    """
    channels = query.shape[-1]
    missing = -channels % multiple
    if missing:
        query, key, value = (functional.pad(each, (0, missing)) for each in (query, key, value))
    step = max(1, MOST_ROWS // query.shape[1])
    parts = [
        functional.scaled_dot_product_attention(*part, scale=1 / math.sqrt(channels))
        for part in zip(query.split(step), key.split(step), value.split(step), strict=True)
    ]
    attended = parts[0] if len(parts) == 1 else torch.cat(parts)
    return attended[..., :channels] if missing else attended
