"""The fast stream: x is never formed.

Both projections of ``x = base + sum_j u_j^T v_j`` distribute over the sum:

    W x^T = W base^T + (W v^T) u        T x = T base + (T u^T) v

with all earlier updates stacked along their rank. ``W base^T`` of all members is one product, whose frozen
factor is read once, is saved by no member, and needs no gradient. Under the frozen norm every token's row of
``base`` is normalised beforehand and its updates are multiplied by the same ``scale``.

Autograd would keep a copy of the stacked updates for every layer, and add up as many gradients. Here the
layers share one stack (`_Stack`), and the backward pass mirrors the forward one: where a product reads all
earlier updates at once, an update's gradient reads all later products at once. That order is autograd's own:
each product and update depends on the update before it through an empty tensor, the token.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.bases import Base, FrozenFeatures
from losa.adapt.streams.contract import StreamCourse, pooling_weights
from losa.adapt.streams.products import combine, inner, with_images
from losa.cache_format.identity import TokenLayout

Side = Literal["width", "tokens"]
"""Along which axis of x a product sums."""


class Factored:
    """See `losa.adapt.streams.contract.Stream`. Knows the norms that are linear in x: frozen and none."""

    def __init__(
        self,
        features: FrozenFeatures,
        course: StreamCourse,
        *,
        members: int,
        norm: Norm,
        tokens: TokenLayout,
    ) -> None:
        """Start a stream.

        Args:
            features: the frozen features.
            course: which of their sites each layer sees.
            members: length of the members axis.
            norm: ``frozen`` or ``none``; see `Materialised`.
            tokens: which tokens are the grid.
        """
        assert norm != "layer", "LayerNorm of x is not linear in x"
        self._bases = features.bases(course, norm)
        self._base: Base | None = None
        self._output = features.activations[:, course.output]
        self._tokens = tokens
        self._tape = _Tape(
            layers=max(1, len(course.layers)),
            members=members,
            dtype=features.dtype,
            recording=torch.is_grad_enabled(),
        )
        self._token = torch.empty(0, device=self._output.device)

    def enter(self, layer: int) -> None:
        """See `Stream`."""
        self._base = self._bases[layer]

    def project(
        self, weight: Float[Tensor, "members rank width"]
    ) -> Float[Tensor, "members images rank tokens"]:
        """See `Stream`."""
        return self._product("width", weight)

    def project_tokens(
        self, weight: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images rank width"]:
        """See `Stream`."""
        return self._product("tokens", weight)

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """See `Stream`."""
        self._token = _Update.apply(self._tape, u, v, self._token)  # type: ignore[no-untyped-call]

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        weights = pooling_weights(kind, self._tokens).to(self._output)
        pooled = (weights @ self._output).expand(self._tape.members, -1, -1)
        if not self._tape.ledgers:
            return pooled
        rows = weights.expand(self._tape.members, 1, -1)
        updates: Tensor = _Product.apply(self._tape, None, "tokens", rows, self._token)  # type: ignore[no-untyped-call]
        return pooled + updates[..., 0, :]

    def _product(self, side: Side, weight: Tensor) -> Tensor:
        product: Tensor = _Product.apply(self._tape, self._base, side, weight, self._token)  # type: ignore[no-untyped-call]
        return product


class _Stack:
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
        return self.since(0)

    def since(self, start: int) -> Tensor:
        """Everything from a row on."""
        assert self._data is not None, "nothing was appended"
        return self._data[..., start : self.rows, :]

    @staticmethod
    def _room(like: Tensor, rows: int) -> Tensor:
        return like.new_empty((*like.shape[:-2], rows, like.shape[-1]))


@dataclass
class _Products:
    """The products made along one axis, in order: what an update's gradient needs of them."""

    weights: _Stack
    gradients: Tensor | None = None
    """Of the results; filled from the end as the backward pass goes."""
    made: list["_Made"] = field(default_factory=list)


@dataclass
class _Made:
    """One product. Coefficients are those of the updates that stood in each ledger."""

    place: slice
    coefficients: dict["_Ledger", Tensor]
    gradients: dict["_Ledger", Tensor] = field(default_factory=dict)
    done: bool = False


class _Ledger:
    """All updates whose factors have the same images axes."""

    def __init__(self, layers: int) -> None:
        self.u = _Stack(layers)
        self.v = _Stack(layers)

    def factors(self, side: Side) -> tuple[_Stack, _Stack]:
        """The factor that a product sums over, and the one that is left."""
        return (self.v, self.u) if side == "width" else (self.u, self.v)


class _Tape:
    """What the products and updates of one forward pass know of each other."""

    def __init__(self, *, layers: int, members: int, dtype: torch.dtype, recording: bool) -> None:
        self.layers = layers
        self.members = members
        self.dtype = dtype
        self.recording = recording
        self.ledgers: dict[tuple[int, int], _Ledger] = {}
        self.products: dict[Side, _Products] = {
            side: _Products(_Stack(layers)) for side in ("width", "tokens")
        }

    def ledger(self, u: Tensor, v: Tensor) -> _Ledger:
        """The one for factors with these axes."""
        axes = (u.ndim, v.ndim)
        if axes not in self.ledgers:
            self.ledgers[axes] = _Ledger(self.layers)
        return self.ledgers[axes]


class _Product(Function):
    """``W N(x)^T`` or ``T N(x)``."""

    @staticmethod
    def forward(ctx: Any, tape: _Tape, base: Base | None, side: Side, weight: Tensor, token: Tensor) -> Tensor:
        weight_dtype = weight.dtype
        weight = weight.to(tape.dtype)
        scale = None if base is None else base.scale
        rows = with_images(weight) * scale[:, None] if side == "tokens" and scale is not None else weight
        updates: Tensor | None = None
        coefficients = {}
        for ledger in tape.ledgers.values():
            summed, left = ledger.factors(side)
            coefficients[ledger] = inner(rows, summed.all())
            part = with_images(combine(coefficients[ledger], left.all()))
            updates = part if updates is None else updates.add_(part)
        result = None if base is None else _base_product(base.normalised, side, weight)
        if updates is not None:
            if side == "width" and scale is not None:
                updates *= scale[:, None]
            result = updates if result is None else updates.add_(result)
        assert result is not None, "a product has a base or updates"
        if tape.recording:
            products = tape.products[side]
            made = _Made(products.weights.append(rows), coefficients)
            products.made.append(made)
            ctx.tape, ctx.base, ctx.side, ctx.made = tape, base, side, made
            ctx.weight, ctx.rows, ctx.weight_dtype = weight, rows, weight_dtype
        return result.contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tape, base, side, made = ctx.tape, ctx.base, ctx.side, ctx.made
        scale = None if base is None else base.scale
        needed = ctx.needs_input_grad[3]
        of_weight = None
        if base is not None and needed:
            of_weight = _base_weight_gradient(base.normalised, side, gradient, ctx.weight)
        if side == "width" and scale is not None:
            gradient = gradient * scale[:, None]
        of_rows: Tensor | None = None
        for ledger, coefficients in made.coefficients.items():
            summed, left = ledger.factors(side)
            columns = coefficients.shape[-1]
            of_coefficients = inner(gradient, left.since(0)[..., :columns, :])
            made.gradients[ledger] = of_coefficients
            if needed:
                if coefficients.ndim == 3:
                    of_coefficients = of_coefficients.sum(dim=1)
                part = combine(of_coefficients, summed.since(0)[..., :columns, :])
                part = part.sum(dim=1) if part.ndim > ctx.rows.ndim else part
                of_rows = part if of_rows is None else of_rows + part
        products = tape.products[side]
        if products.gradients is None:
            products.gradients = gradient.new_empty(
                (*gradient.shape[:2], products.weights.rows, gradient.shape[-1])
            )
        products.gradients[:, :, made.place] = gradient
        made.done = True
        if of_rows is not None:
            if side == "tokens" and scale is not None:
                of_rows = of_rows * scale[:, None]
            if of_rows.ndim > ctx.weight.ndim:
                of_rows = of_rows.sum(dim=1)
            of_weight = of_rows if of_weight is None else of_weight + of_rows
        return None, None, None, None if of_weight is None else of_weight.to(ctx.weight_dtype), gradient.new_empty(0)


class _Update(Function):
    """``x += u^T v``."""

    @staticmethod
    def forward(ctx: Any, tape: _Tape, u: Tensor, v: Tensor, token: Tensor) -> Tensor:
        ledger = tape.ledger(u, v)
        ctx.tape, ctx.ledger = tape, ledger
        ctx.place = ledger.u.append(u.to(tape.dtype))
        ledger.v.append(v.to(tape.dtype))
        # From these rows on products have seen the update.
        ctx.seen = {side: len(products.made) for side, products in tape.products.items()}
        ctx.dtypes, ctx.ndims = (u.dtype, v.dtype), (u.ndim, v.ndim)
        return token.new_empty(0)

    @staticmethod
    def backward(ctx: Any, token: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tape, ledger = ctx.tape, ctx.ledger
        of_u: list[Tensor] = []
        of_v: list[Tensor] = []
        for side, products in tape.products.items():
            later = [made for made in products.made[ctx.seen[side] :] if made.done]
            if not later:
                continue
            assert len(later) == len(products.made) - ctx.seen[side], "a product's result was not used"
            start = later[0].place.start
            of_summed, of_left = (of_v, of_u) if side == "width" else (of_u, of_v)
            coefficients = _stacked([made.coefficients[ledger] for made in later], ctx.place)
            of_left.append(combine(coefficients.mT, products.gradients[:, :, start:]))
            gradients = _stacked([made.gradients[ledger] for made in later], ctx.place)
            weights = products.weights.since(start)
            if weights.ndim == 3 and ctx.ndims[side == "width"] == 3:
                gradients = gradients.sum(dim=1)
            of_summed.append(combine(gradients.mT, weights))
        return (
            None,
            _total(of_u, ctx.ndims[0], ctx.dtypes[0]),
            _total(of_v, ctx.ndims[1], ctx.dtypes[1]),
            token,
        )


def _stacked(coefficients: list[Tensor], place: slice) -> Tensor:
    """Those of some updates, of all products: (members, [images], products' rows, updates)."""
    parts = [part[..., place] for part in coefficients]
    if len({part.ndim for part in parts}) > 1:
        images = max(part.shape[1] for part in parts if part.ndim == 4)
        parts = [with_images(part).expand(-1, images, -1, -1) for part in parts]
    return torch.cat(parts, dim=-2)


def _total(parts: list[Tensor], ndim: int, dtype: torch.dtype) -> Tensor | None:
    total: Tensor | None = None
    for part in parts:
        reduced = part.sum(dim=1) if part.ndim > ndim else part
        reduced = with_images(reduced) if reduced.ndim < ndim else reduced
        total = reduced if total is None else total + reduced
    return None if total is None else total.to(dtype)


def _base_product(
    base: Float[Tensor, "images tokens width"], side: Side, weight: Float[Tensor, "members ... columns"]
) -> Float[Tensor, "members images rank _"]:
    members, rank = weight.shape[0], weight.shape[-2]
    if weight.ndim == 4:
        flat = weight.transpose(0, 1).flatten(1, 2)
    else:
        flat = weight.flatten(0, 1)
    product = torch.matmul(flat, base.mT if side == "width" else base)
    return product.unflatten(1, (members, rank)).transpose(0, 1)


def _base_weight_gradient(
    base: Float[Tensor, "images tokens width"], side: Side, gradient: Tensor, weight: Tensor
) -> Tensor:
    """Of the weight, in the gradient's dtype."""
    flat = gradient.transpose(0, 1).flatten(1, 2)
    each = torch.bmm(flat, base if side == "width" else base.mT)
    if weight.ndim == 4:
        return each.unflatten(1, gradient.shape[:3:2]).transpose(0, 1)
    return each.sum(dim=0).unflatten(0, gradient.shape[:3:2])
