"""Which tokens become the pooled vector."""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Pool
from losa.cache_format.identity import TokenLayout


def pool_tokens(
    kind: Pool, tokens: TokenLayout, x: Float[Tensor, "images tokens width"]
) -> Float[Tensor, "images width"]:
    """The pooled vector of each image: ``pooling_weights(...) @ x``, without a look at tokens of weight 0.

    >>> pool_tokens("mean", TokenLayout(cls=1, registers=0, grid=(1, 2)), torch.tensor([[[5.0], [1], [2]]]))
    tensor([[1.5000]])
    """
    of_frames = x.unflatten(1, (tokens.frames, -1))
    pooled: Tensor = of_frames[:, :, _pooled(kind, tokens)].mean(dim=(1, 2))
    return pooled


def pooling_weights(kind: Pool, tokens: TokenLayout, like: Tensor) -> Float[Tensor, "tokens"]:
    """The weight of each token in the pooled vector, in the dtype and on the device of ``like``.

    ``cls`` averages the first cls token over the frames, ``mean`` averages all tokens of the grid.

    >>> pooling_weights("mean", TokenLayout(cls=1, registers=0, grid=(2, 2)), torch.empty(0))
    tensor([0.0000, 0.2500, 0.2500, 0.2500, 0.2500])
    """
    # Made on the device: nothing is copied there. In float64: the weights are rounded once.
    shape = (tokens.frames, tokens.count // tokens.frames)
    weights = torch.zeros(shape, dtype=torch.float64, device=like.device)
    weights[:, _pooled(kind, tokens)].fill_(1.0)
    return (weights.flatten() / weights.sum()).to(like)


def pooled_tokens(kind: Pool, tokens: TokenLayout) -> slice:
    """Tokens among which are all that have a weight in the pooled vector.

    >>> pooled_tokens("cls", TokenLayout(cls=1, registers=0, grid=(2, 2), frames=3))
    slice(None, None, 5)
    """
    return slice(None, None, tokens.count // tokens.frames if kind == "cls" else None)


def _pooled(kind: Pool, tokens: TokenLayout) -> slice:
    """Tokens of a frame that have a weight in the pooled vector."""
    return slice(1) if kind == "cls" else slice(tokens.prefix, None)
