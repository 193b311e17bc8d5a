"""Parameters with a leading members axis, whose initial values depend on (seed, name) alone."""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
"""What one layer computes with, by name: ``(members, ...)``."""


def seeded_normal(seed: int, name: str, shape: Sequence[int], std: float) -> Tensor:
    """Normal values that depend on the seed and the name, not on earlier draws.

    Args:
        seed: seed of the member.
        name: name of the parameter.
        shape: shape without the members axis.
        std: standard deviation; 0 gives zeros.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randn(*shape, generator=generator) * std


def member_normal(seeds: Sequence[int], name: str, shape: Sequence[int], std: float) -> nn.Parameter:
    """A parameter ``(members, *shape)`` with normal values, those of a member from its seed alone."""
    values = torch.empty(len(seeds), *shape)
    for member, seed in zip(values, seeds, strict=True):
        member.copy_(seeded_normal(seed, name, shape, std))
    return nn.Parameter(values)


def member_constant(seeds: Sequence[int], shape: Sequence[int], value: float) -> nn.Parameter:
    """A parameter ``(members, *shape)`` filled with one value."""
    return nn.Parameter(torch.full((len(seeds), *shape), value))


def by_layer(values: Mapping[str, Float[Tensor, "members layers ..."]]) -> list[Weights]:
    """What each layer computes with, split at once for all layers.

    If each layer took its own part, the backward pass would make a gradient of the whole for each of them.

    Args:
        values: what all layers compute with, by name.
    """
    parts = zip(*(each.unbind(dim=1) for each in values.values()), strict=True)
    return [dict(zip(values, of_layer, strict=True)) for of_layer in parts]
