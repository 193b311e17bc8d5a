"""Dropout whose masks are a function of (seed, step, place, image), never of history or company.

So a member drops the same values alone, among others, in batches cut into parts, and after a resume.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""Of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as signed numbers."""
_GOLDEN = -0x61C8864680B583EB


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """Dropout of all members at one step."""

    rates: Sequence[float]
    """Of each member, 0 (inclusive) to 1 (exclusive)."""
    seeds: Sequence[int]
    """Of each member."""
    step: int
    first_image: int = 0
    """Position in the batch of the first image that is passed."""

    def __call__(self, values: Float[Tensor, "members images *rest"], place: str) -> Tensor:
        """Values, some of them zero and the others larger, so that the mean stays.

        Args:
            values: what a layer computed.
            place: name of the layer; two places drop independently.
        """
        device = values.device
        each = values[0, 0].numel()
        start = self.first_image * each
        counter = torch.arange(start, start + values[0].numel(), device=device).view(values.shape[1:])
        lead = (-1, *[1] * (values.ndim - 1))
        keys = torch.tensor([self._key(seed, place) for seed in self.seeds], device=device).view(lead)
        rates = torch.tensor(self.rates, device=device).view(lead)
        keep = _uniform(keys + counter * _GOLDEN) >= rates
        return values * (keep / (1 - rates)).to(values.dtype)

    def _key(self, seed: int, place: str) -> int:
        digest = hashlib.sha256(f"dropout/{seed}/{self.step}/{place}".encode()).digest()
        return int.from_bytes(digest[:8], "little", signed=True)


def _uniform(bits: Tensor) -> Float[Tensor, "..."]:
    """Numbers from 0 (inclusive) to 1 (exclusive) out of 64-bit counters."""
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        bits = (bits ^ _shifted(bits, shift)) * multiplier
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 40).float() / 2**24


def _shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, zeros coming in; torch keeps the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
