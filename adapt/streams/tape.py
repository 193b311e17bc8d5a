"""The record of one forward pass of `Factored` that its backward pass needs, as autograd's own tape is.

The factors of all updates are stacked, so that a product reads all earlier updates in one multiplication. The
weights of all products and the gradients of their results are stacked as well, so that the gradient of an
update reads all later products in one multiplication.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from losa.adapt.streams.products import with_images_axis

Axis = Literal["width", "tokens"]
"""The axis of x that a product sums over."""


class Stack:
    """A tensor ``(members, [images], rows, columns)`` to which rows are appended."""

    def __init__(self, expected: int) -> None:
        """Create an empty stack.

        Args:
            expected: number of appends to allocate for, each as large as the first; more make it grow.
        """
        self._expected = expected
        self._data: Tensor | None = None
        self.rows = 0

    def append(self, rows: Tensor) -> slice:
        """Copy rows to the end and return their positions."""
        end = self.rows + rows.shape[-2]
        if self._data is None:
            self._data = self._allocate(rows, end * self._expected)
        if rows.ndim > self._data.ndim:
            self._data = self._data[:, None].expand(-1, rows.shape[1], -1, -1).clone()
        if end > self._data.shape[-2]:
            old = self._data
            self._data = self._allocate(old, 2 * end)
            self._data[..., : self.rows, :] = old[..., : self.rows, :]
        positions = slice(self.rows, end)
        self._data[..., positions, :] = with_images_axis(rows) if self._data.ndim == 4 else rows
        self.rows = end
        return positions

    def all(self) -> Tensor:
        """All rows appended so far."""
        assert self._data is not None, "nothing was appended"
        return self._data[..., : self.rows, :]

    @staticmethod
    def _allocate(like: Tensor, rows: int) -> Tensor:
        return like.new_empty((*like.shape[:-2], rows, like.shape[-1]))


class JoinedStack(Stack):
    """A stack that is joined anew with each append, for graphs: a write in place would become a scatter."""

    def append(self, rows: Tensor) -> slice:
        """Join rows to the end and return their positions."""
        positions = slice(self.rows, self.rows + rows.shape[-2])
        self._data = rows if self._data is None else torch.cat([self._data, rows], dim=-2)
        self.rows = positions.stop
        return positions


class UpdateStack:
    """The stacked factors of all updates whose factors have the same images axes."""

    def __init__(self, layers: int) -> None:
        kind = JoinedStack if torch.compiler.is_compiling() else Stack
        self.u = kind(layers)
        self.v = kind(layers)

    def factors(self, axis: Axis) -> tuple[Stack, Stack]:
        """The factor that a product along this axis sums over, and the other one."""
        return (self.v, self.u) if axis == "width" else (self.u, self.v)


@dataclass(eq=False)
class ProductRecord:
    """One product that has read updates."""

    rows: slice
    """Positions of its rows among those of all products along its axis."""
    coefficients: dict[UpdateStack, Tensor]
    """The weight times the factors of the updates before it: (members, [images], rows, updates)."""
    grad_coefficients: dict[UpdateStack, Tensor] = field(default_factory=dict)
    """Gradients of the coefficients; empty until the backward pass."""


class ProductStack:
    """The products along one axis in their order, with weights and gradients stacked."""

    def __init__(self, layers: int) -> None:
        self.records: list[ProductRecord] = []
        self._weights = Stack(layers)
        self._grads: Tensor | None = None

    def append(self, weight: Tensor, coefficients: dict[UpdateStack, Tensor]) -> ProductRecord:
        """Record a product.

        Args:
            weight: (members, [images], rows, columns).
            coefficients: see `ProductRecord`.
        """
        record = ProductRecord(self._weights.append(weight), coefficients)
        self.records.append(record)
        return record

    def keep_grad(self, record: ProductRecord, grad: Tensor) -> None:
        """Store the gradient of a product's result."""
        if self._grads is None:
            self._grads = grad.new_empty((*grad.shape[:2], self._weights.rows, grad.shape[-1]))
        self._grads[:, :, record.rows] = grad

    def grads_of(self, records: list[ProductRecord]) -> Tensor:
        """Stacked gradients of the results of some products: (members, images, rows, columns)."""
        assert self._grads is not None, "no gradient was stored"
        return _select(self._grads, records)

    def weights_of(self, records: list[ProductRecord]) -> Tensor:
        """Stacked weights of some products: (members, [images], rows, columns)."""
        return _select(self._weights.all(), records)


def _select(stack: Tensor, records: list[ProductRecord]) -> Tensor:
    positions = [record.rows for record in records]
    if all(one.stop == following.start for one, following in pairwise(positions)):
        return stack[..., positions[0].start : positions[-1].stop, :]
    return torch.cat([stack[..., rows, :] for rows in positions], dim=-2)


class Tape:
    """All updates and products of one forward pass."""

    def __init__(
        self, *, layers: int, members: int, images: int, dtype: torch.dtype, recording: bool
    ) -> None:
        """Create an empty tape.

        Args:
            layers: number of layers, to allocate for.
            members: length of the members axis.
            images: number of images.
            dtype: dtype in which products are computed.
            recording: whether there will be a backward pass.
        """
        self.layers = layers
        self.members = members
        self.images = images
        self.dtype = dtype
        self.recording = recording
        self.updates: dict[tuple[int, int], UpdateStack] = {}
        self.products: dict[Axis, ProductStack] = {axis: ProductStack(layers) for axis in ("width", "tokens")}

    def updates_like(self, u: Tensor, v: Tensor) -> UpdateStack:
        """The stack of updates whose factors have the same axes as these."""
        axes = (u.ndim, v.ndim)
        if axes not in self.updates:
            self.updates[axes] = UpdateStack(self.layers)
        return self.updates[axes]
