"""Dropout whose masks are a function of (seed, step, place, image) and of nothing else.

A member therefore drops the same values whether it trains alone or with others, whatever the micro-batches,
and after a resume.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""Multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as signed numbers."""
_INCREMENT = -0x61C8864680B583EB
"""Increment of splitmix64, as a signed number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """Dropout of all members at one step."""

    rates: Sequence[float]
    """Dropout rate of each member, from 0 (inclusive) to 1 (exclusive)."""
    seeds: Sequence[int]
    """Seed of each member."""
    step: int
    first_image: int = 0
    """Position in the batch of the first image of the micro-batch."""

    def __call__(self, values: Float[Tensor, "members images *rest"], place: str) -> Tensor:
        """Set some values to zero and scale the others up, so that the expectation is unchanged.

        Args:
            values: hidden values of a layer.
            place: name of the place in the network; two places drop independently.
        """
        device = values.device
        each = values[0, 0].numel()
        start = self.first_image * each
        counter = torch.arange(start, start + values[0].numel(), device=device).view(values.shape[1:])
        lead = (-1, *[1] * (values.ndim - 1))
        keys = torch.tensor([self._key(seed, place) for seed in self.seeds], device=device).view(lead)
        rates = torch.tensor(self.rates, device=device).view(lead)
        keep = _uniform_(keys + counter * _INCREMENT) >= rates
        return values * (keep / (1 - rates)).to(values.dtype)

    def _key(self, seed: int, place: str) -> int:
        digest = hashlib.sha256(f"dropout/{seed}/{self.step}/{place}".encode()).digest()
        return int.from_bytes(digest[:8], "little", signed=True)


def _uniform_(bits: Tensor) -> Float[Tensor, "..."]:
    """Map 64-bit integers to numbers from 0 (inclusive) to 1 (exclusive) by the mixer of splitmix64.

    In place, because the masks of a step are larger than the caches of a processor.
    """
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        bits.bitwise_xor_(_shifted(bits, shift)).mul_(multiplier)
    bits.bitwise_xor_(_shifted(bits, 31))
    return _shifted(bits, 40).float().div_(2**24)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; the shift of torch fills with the sign bit."""
    return (bits >> by).bitwise_and_((1 << (64 - by)) - 1)
