"""Self-attention of side networks, computed only for the tokens whose result is read."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def attend(
    query: Float[Tensor, "batch heads tokens _"],
    key: Float[Tensor, "batch heads tokens _"],
    value: Float[Tensor, "batch heads tokens _"],
    read: slice,
) -> Float[Tensor, "batch heads tokens _"]:
    """Softmax attention; zeros at the tokens that nothing reads.

    Members and images share the batch axis, because torch's fused attention takes four axes.

    Args:
        query: the queries.
        key: the keys.
        value: the values.
        read: tokens whose result is read. All tokens are attended to.
    """
    attended: Tensor = functional.scaled_dot_product_attention(query[:, :, read], key, value)
    if attended.shape == query.shape:
        return attended
    everywhere = torch.zeros_like(query)
    everywhere[:, :, read] = attended
    return everywhere
