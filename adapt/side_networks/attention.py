"""Self-attention of side networks, computed only for the tokens whose result is read."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

MOST_ROWS = 65_535
"""The most pairs of batch and head of one launch: a limit of the grid of torch's CUDA kernels."""
GPU_CHANNELS = 8
"""Fused kernels on a GPU take heads of a multiple of so many channels; any other number gets the one that
forms all similarities."""
CPU_CHANNELS = 16
"""Channels that the kernel on a CPU has at once in a vector register; heads of fewer take longer than padded
ones, if there are many tokens: 1.3 to 1.4 times as long at 197 to 577 tokens and 2 channels."""
CPU_TOKENS = 128
"""Tokens from which heads are padded on a CPU; with fewer, padding takes more time than it saves."""


def attend(
    query: Float[Tensor, "batch heads tokens _"],
    key: Float[Tensor, "batch heads tokens _"],
    value: Float[Tensor, "batch heads tokens _"],
    read: slice,
    dtype: torch.dtype,
) -> Float[Tensor, "batch heads tokens _"]:
    """Softmax attention; zeros at the tokens that nothing reads.

    Members and images share the batch axis, because torch's fused attention takes four axes.

    Args:
        query: the queries.
        key: the keys.
        value: the values.
        read: tokens whose result is read. All tokens are attended to.
        dtype: dtype of the products on a GPU. On a CPU it is that of the arguments, which is faster there.
    """
    if query.is_cuda:
        computed, multiple = dtype, GPU_CHANNELS
    else:
        padded = query.shape[2] >= CPU_TOKENS and query.shape[3] > 1
        computed, multiple = query.dtype, CPU_CHANNELS if padded else 1
    asking = query[:, :, read].to(computed)
    attended = fused_attention(asking, key.to(computed), value.to(computed), multiple).to(query.dtype)
    if attended.shape == query.shape:
        return attended
    everywhere = torch.zeros_like(query)
    everywhere[:, :, read] = attended
    return everywhere


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
