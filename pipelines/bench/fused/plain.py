"""Side networks of one member in plain PyTorch, which materialise the stream x and use autograd.

They compute the same as `losa.adapt.side_networks`, without streams, members or caches; a test holds the two
equal. The products are written in the form that was fastest on a CPU.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from losa.adapt.architecture import Norm

PLAIN_EPS = 1e-6

Normalise = Callable[[Tensor | None], Tensor]
"""Maps the sum of updates so far (None before the first) to the normalised input of a mix."""


def normaliser(base: Float[Tensor, "images tokens width"], norm: Norm, dtype: torch.dtype) -> Normalise:
    """The norm of ``base + updates``. The part that depends on the base alone is computed once."""
    width = base.shape[-1:]
    if norm == "frozen":
        normalised, _, scale = torch.native_layer_norm(base, width, None, None, PLAIN_EPS)
        normalised, scale = normalised.to(dtype), scale.to(dtype)
        return lambda updates: normalised if updates is None else torch.addcmul(normalised, updates, scale)
    plain = base.to(dtype)
    if norm == "none":
        return lambda updates: plain if updates is None else plain + updates
    return lambda updates: functional.layer_norm(
        plain if updates is None else plain + updates, width, eps=PLAIN_EPS
    )


class PlainMixer(nn.Module):
    """One layer of LoSA: a low-rank MLP along the width, then one along the tokens."""

    def __init__(self, *, tokens: int, width: int, rank: int) -> None:
        super().__init__()
        self.channel_down = nn.Parameter(torch.randn(rank, width) * width**-0.5)
        self.channel_up = nn.Parameter(torch.zeros(rank, width))
        self.token_down = nn.Parameter(torch.randn(rank, tokens) * tokens**-0.5)
        self.token_up = nn.Parameter(torch.zeros(rank, tokens))

    def forward(self, normalise: Normalise, updates: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return the sum of updates, those of this layer included."""
        hidden = functional.gelu(functional.linear(normalise(updates), self.channel_down.to(dtype)))
        update = hidden @ self.channel_up.to(dtype)
        updates = update if updates is None else updates + update
        hidden = functional.gelu(self.token_down.to(dtype) @ normalise(updates))
        return updates + self.token_up.to(dtype).mT @ hidden


class PlainAttention(nn.Module):
    """One layer of LAST: multi-head self-attention in ``rank`` dimensions."""

    def __init__(self, *, width: int, rank: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.norm_bias = nn.Parameter(torch.zeros(width))
        self.query_key_value = nn.Parameter(torch.randn(3 * rank, width) * width**-0.5)
        self.up = nn.Parameter(torch.zeros(rank, width))

    def forward(self, normalise: Normalise, updates: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return the sum of updates, that of this layer included."""
        # Weight and bias of the norm are folded into the projection, which is thin; x is (tokens, width).
        weight = self.query_key_value * self.norm_weight
        bias = self.query_key_value @ self.norm_bias
        projected = functional.linear(normalise(updates), weight.to(dtype), bias.to(dtype))
        heads = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        update = attended.transpose(1, 2).flatten(2) @ self.up.to(dtype)
        return update if updates is None else updates + update


class PlainRelay(nn.Module):
    """One layer of Relay: each relay gathers one vector from all tokens, and scatters it to them."""

    def __init__(self, *, width: int, rank: int) -> None:
        super().__init__()
        self.gather = nn.Parameter(torch.randn(rank, width) * width**-0.5)
        self.scatter = nn.Parameter(torch.randn(rank, width) * width**-0.5)
        self.scatter_bias = nn.Parameter(torch.zeros(rank))
        self.scale = nn.Parameter(torch.zeros(rank, width))

    def forward(self, normalise: Normalise, updates: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return the sum of updates, that of this layer included."""
        x = normalise(updates)
        logits = functional.linear(x, self.gather.to(dtype))
        gathered = logits.mT.softmax(dim=-1) @ x
        received = functional.gelu(functional.linear(x, self.scatter.to(dtype), self.scatter_bias.to(dtype)))
        update = received @ (self.scale.to(dtype) * gathered)
        return update if updates is None else updates + update


class PlainSideNetwork(nn.Module):
    """LoSA (channels first, no biases), LAST or Relay of one member, with a linear head on the cls token."""

    def __init__(
        self,
        side: str,
        *,
        sites: int,
        tokens: int,
        width: int,
        rank: int,
        heads: int,
        num_classes: int,
        norm: Norm,
        dtype: torch.dtype,
    ) -> None:
        """Create the layers.

        Args:
            side: ``losa``, ``last`` or ``relay``.
            sites: number of sites, one for each layer.
            tokens: number of tokens; the first is the cls token.
            width: width of the activations.
            rank: rank of the updates.
            heads: heads of LAST's attention.
            num_classes: number of class scores.
            norm: normalisation before each mix; see `losa.adapt.streams.Materialised`.
            dtype: dtype of the products and of x. Parameters and input activations are float32.
        """
        super().__init__()
        self._sums_sites = side != "losa"
        self._norm, self._dtype = norm, dtype
        make: dict[str, Callable[[], nn.Module]] = {
            "losa": lambda: PlainMixer(tokens=tokens, width=width, rank=rank),
            "last": lambda: PlainAttention(width=width, rank=rank, heads=heads),
            "relay": lambda: PlainRelay(width=width, rank=rank),
        }
        self.layers = nn.ModuleList(make[side]() for _ in range(sites))
        self.head = nn.Linear(width, num_classes)

    def forward(
        self, activations: Float[Tensor, "images sites tokens width"]
    ) -> Float[Tensor, "images classes"]:
        """Return class scores."""
        last = activations[:, -1]
        updates: Tensor | None = None
        total: Tensor | None = None
        for site, layer in enumerate(self.layers):
            if self._sums_sites:
                total = activations[:, site] if total is None else total + activations[:, site]
                base = total
            else:
                base = activations[:, site] + last
            updates = layer(normaliser(base, self._norm, self._dtype), updates, self._dtype)
        assert updates is not None, "there is a layer for each site"
        scores: Tensor = self.head(last[:, 0] + updates[:, 0])
        return scores
