"""Dropout whose masks are a function of (seed, step, place, image) and of nothing else.

A member therefore drops the same values whether it trains alone or with others, whatever the micro-batches,
and after a resume.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from losa.adapt.kernels import computes_factors, dropout_factors
from losa.cache_format.common.device import to_device

_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
"""Multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as signed numbers."""
_INCREMENT = -0x61C8864680B583EB
"""Increment of splitmix64, as a signed number."""
_BITS = 24
"""Bits that decide whether a value is dropped: float32, the dtype of rates, has as many."""


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Dropout of all members at one step."""

    rates: Float[Tensor, "members"]
    """Dropout rate of each member, from 0 (inclusive) to 1 (exclusive)."""
    keys: Callable[[str], Int64[Tensor, "members"]]
    """The key of each member's mask at a place of the network; see `DropoutKeys`."""
    first_image: int = 0
    """Position in the batch of the first image of the micro-batch."""
    _counters: dict[torch.Size, Int64[Tensor, "images *rest"]] = field(default_factory=dict)
    """What masks of one shape have in common."""

    def __call__(self, values: Float[Tensor, "members images *rest"], place: str) -> Tensor:
        """Set values to zero and scale the others up, so that the expectation is unchanged.

        Args:
            values: hidden values of a layer.
            place: name of the place in the network; two places drop independently.
        """
        compute = self._compiled_factors if computes_factors(values) else self._factors
        return values * compute(values, self.keys(place)).to(values.dtype)

    def _factors(
        self, values: Float[Tensor, "members images *rest"], keys: Int64[Tensor, "members"]
    ) -> Float[Tensor, "members images *rest"]:
        lead = (-1, *[1] * (values.ndim - 1))
        numbers = _mixed_(keys.view(lead) + self._counter(values))
        keep = numbers >= self._least_kept.view(lead)
        return keep * self._scale.view(lead)

    def _compiled_factors(
        self, values: Float[Tensor, "members images *rest"], keys: Int64[Tensor, "members"]
    ) -> Float[Tensor, "members images *rest"]:
        return dropout_factors(keys, self._least_kept, self._scale, self.first_image, tuple(values.shape))

    @cached_property
    def _least_kept(self) -> Int64[Tensor, "members"]:
        """The least number of a value that is kept."""
        return (self.rates.double() * (1 << _BITS)).ceil().long()

    @cached_property
    def _scale(self) -> Float[Tensor, "members"]:
        """The factor of values that are kept."""
        return 1 / (1 - self.rates)

    def _counter(self, values: Float[Tensor, "members images *rest"]) -> Int64[Tensor, "images *rest"]:
        """A number for each value of a member, which depends on its place in the batch alone."""
        shape = values.shape[1:]
        if shape not in self._counters:
            start = self.first_image * values[0, 0].numel()
            counted = torch.arange(start, start + shape.numel(), device=values.device)
            self._counters[shape] = counted.mul_(_INCREMENT).view(shape)
        return self._counters[shape]


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


def _mixed_(bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The upper 24 bits of the mixer of splitmix64, which its last shift by 31 does not change.

    In place, because the masks of a step are larger than the caches of a processor.
    """
    shifted = torch.empty_like(bits)
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        bits.bitwise_xor_(_shift(bits, shift, shifted)).mul_(multiplier)
    return _shift(bits, 64 - _BITS, shifted)


def _shift(bits: Tensor, by: int, out: Tensor) -> Tensor:
    """Shift right and fill with zeros; the shift of torch fills with the sign bit."""
    return torch.bitwise_right_shift(bits, by, out=out).bitwise_and_((1 << (64 - by)) - 1)
