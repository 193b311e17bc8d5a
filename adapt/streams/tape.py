"""What the products and updates of one forward pass of `Factored` know of each other.

Updates are stacked as they come, so that a product reads all earlier ones at once. The weights of products
and the gradients of their results are stacked too, so that an update's gradient reads all later products at
once.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from losa.adapt.streams.products import with_images

Side = Literal["width", "tokens"]
"""Along which axis of x a product sums."""


class Stack:
    """Rows that are appended to one tensor, ``(members, [images], rows, columns)``."""

    def __init__(self, times: int) -> None:
        """Make room for so many times what is appended first; more makes it grow."""
        self._times = times
        self._data: Tensor | None = None
        self.rows = 0

    def append(self, rows: Tensor) -> slice:
        """Copy rows to the end; where they lie from now on."""
        end = self.rows + rows.shape[-2]
        if self._data is None:
            self._data = self._room(rows, end * self._times)
        if rows.ndim > self._data.ndim:
            self._data = self._data[:, None].expand(-1, rows.shape[1], -1, -1).clone()
        if end > self._data.shape[-2]:
            old = self._data
            self._data = self._room(old, 2 * end)
            self._data[..., : self.rows, :] = old[..., : self.rows, :]
        place = slice(self.rows, end)
        self._data[..., place, :] = with_images(rows) if self._data.ndim == 4 else rows
        self.rows = end
        return place

    def all(self) -> Tensor:
        """Everything appended so far."""
        assert self._data is not None, "nothing was appended"
        return self._data[..., : self.rows, :]

    @staticmethod
    def _room(like: Tensor, rows: int) -> Tensor:
        return like.new_empty((*like.shape[:-2], rows, like.shape[-1]))


@dataclass(eq=False)
class Made:
    """One product."""

    place: slice
    """Of its rows among those of all products along its axis."""
    coefficients: dict["Ledger", Tensor]
    """What it multiplied the updates with that stood in each ledger: (members, [images], rows, updates)."""
    gradients: dict["Ledger", Tensor] = field(default_factory=dict)
    """Of the coefficients, from the backward pass on."""


class Products:
    """The products made along one axis, in order: what an update's gradient needs of them."""

    def __init__(self, layers: int) -> None:
        self.made: list[Made] = []
        self._weights = Stack(layers)
        self._gradients: Tensor | None = None

    def add(self, weight: Tensor, coefficients: dict["Ledger", Tensor]) -> Made:
        """Note a product.

        Args:
            weight: (members, [images], rows, columns).
            coefficients: see `Made`.
        """
        made = Made(self._weights.append(weight), coefficients)
        self.made.append(made)
        return made

    def keep_gradient(self, made: Made, gradient: Tensor) -> None:
        """Of a product's result."""
        if self._gradients is None:
            self._gradients = gradient.new_empty(
                (*gradient.shape[:2], self._weights.rows, gradient.shape[-1])
            )
        self._gradients[:, :, made.place] = gradient

    def gradients_of(self, made: list[Made]) -> Tensor:
        """Of the results of some products, in order: (members, images, rows, columns)."""
        assert self._gradients is not None, "none was kept"
        return _rows(self._gradients, made)

    def weights_of(self, made: list[Made]) -> Tensor:
        """Of some products, in order: (members, [images], rows, columns)."""
        return _rows(self._weights.all(), made)


def _rows(stack: Tensor, made: list[Made]) -> Tensor:
    places = [product.place for product in made]
    if all(place.stop == following.start for place, following in pairwise(places)):
        return stack[..., places[0].start : places[-1].stop, :]
    return torch.cat([stack[..., place, :] for place in places], dim=-2)


class Ledger:
    """All updates whose factors have the same images axes."""

    def __init__(self, layers: int) -> None:
        self.u = Stack(layers)
        self.v = Stack(layers)

    def factors(self, side: Side) -> tuple[Stack, Stack]:
        """The factor that a product sums over, and the one that is left."""
        return (self.v, self.u) if side == "width" else (self.u, self.v)


class Tape:
    """All of one forward pass."""

    def __init__(
        self, *, layers: int, members: int, images: int, dtype: torch.dtype, recording: bool
    ) -> None:
        self.layers = layers
        self.members = members
        self.images = images
        self.dtype = dtype
        self.recording = recording
        self.ledgers: dict[tuple[int, int], Ledger] = {}
        self.products: dict[Side, Products] = {side: Products(layers) for side in ("width", "tokens")}

    def ledger(self, u: Tensor, v: Tensor) -> Ledger:
        """The one for factors with these axes."""
        axes = (u.ndim, v.ndim)
        if axes not in self.ledgers:
            self.ledgers[axes] = Ledger(self.layers)
        return self.ledgers[axes]
