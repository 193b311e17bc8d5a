"""Dropout whose masks are a function of (seed, step, place, image) and of nothing else.

A member therefore drops the same values whether it trains alone or with others, whatever the micro-batches,
and after a resume.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from losa.cache_format.common.device import to_device

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""Multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as signed numbers."""
_INCREMENT = -0x61C8864680B583EB
"""Increment of splitmix64, as a signed number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """Dropout of all members at one step."""

    rates: Float[Tensor, "members"]
    """Dropout rate of each member, from 0 (inclusive) to 1 (exclusive)."""
    keys: Callable[[str], Int64[Tensor, "members"]]
    """The key of each member's mask at a place of the network; see `DropoutKeys`."""
    first_image: int = 0
    """Position in the batch of the first image of the micro-batch."""

    def __call__(self, values: Float[Tensor, "members images *rest"], place: str) -> Tensor:
        """Set values to zero and scale the others up, so that the expectation is unchanged.

        Args:
            values: hidden values of a layer.
            place: name of the place in the network; two places drop independently.
        """
        each = values[0, 0].numel()
        start = self.first_image * each
        counter = torch.arange(start, start + values[0].numel(), device=values.device).view(values.shape[1:])
        lead = (-1, *[1] * (values.ndim - 1))
        rates = self.rates.view(lead)
        keep = _uniform_(self.keys(place).view(lead) + counter * _INCREMENT) >= rates
        return values * (keep / (1 - rates)).to(values.dtype)


class DropoutKeys:
    """The keys of some members' masks, a function of (seed, step, place), on the compute device.

    Those of many steps are copied there at once, for all places that an earlier step has met.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str) -> None:
        """Know no places yet.

        Args:
            seeds: seed of each member.
            device: the compute device.
        """
        self._seeds = tuple(seeds)
        self._device = device
        self._places: dict[str, int] = {}
        self._steps = range(0)
        self._table = self._made(self._steps, [])

    def begin(self, steps: range) -> None:
        """Choose the steps whose keys are to be copied at once."""
        self._steps, self._table = steps, self._made(range(0), [])

    def of_step(self, step: int) -> Int64[Tensor, "places members"]:
        """The keys of one of these steps at the places met so far."""
        if not len(self._table) or self._table.shape[1] < len(self._places):
            self._steps = range(step, self._steps.stop)
            self._table = self._made(self._steps, list(self._places))
        return self._table[step - self._steps.start]

    def at(
        self, place: str, step: int, known: Int64[Tensor, "places members"] | None = None
    ) -> Int64[Tensor, "members"]:
        """The keys of a step at one place.

        Args:
            place: name of the place.
            step: number of the step, from 0.
            known: what `of_step` returned for it, or a copy. The keys of another place are copied alone.
        """
        number = self._places.setdefault(place, len(self._places))
        if known is not None and number < len(known):
            return known[number]
        return self._made(range(step, step + 1), [place])[0, 0]

    def _made(self, steps: range, places: Sequence[str]) -> Int64[Tensor, "steps places members"]:
        keys = [_key(seed, step, place) for step in steps for place in places for seed in self._seeds]
        made = torch.tensor(keys, dtype=torch.int64).view(len(steps), len(places), len(self._seeds))
        return to_device(made, self._device)


def _key(seed: int, step: int, place: str) -> int:
    digest = hashlib.sha256(f"dropout/{seed}/{step}/{place}".encode()).digest()
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
