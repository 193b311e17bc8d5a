"""The fast stream: x is never formed.

Both projections of ``x = base + sum_j u_j^T v_j`` distribute over the sum:

    W x^T = W base^T + (W v^T) u        T x = T base + (T u^T) v

with all earlier updates stacked along their rank. ``W base^T`` of all members is one product, whose frozen
factor is read once, is saved by no member, and needs no gradient. Under the frozen norm every token's row of
``base`` is normalised beforehand and its updates are multiplied by the same ``scale``.

Autograd would keep a copy of the stacked updates for every layer, and add up as many gradients. Here the
layers share one stack (`Tape`), and the backward pass mirrors the forward one: where a product reads all
earlier updates at once, an update's gradient reads all later products at once. That order is autograd's own:
each product and update depends on the update before it through an empty tensor, the token.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.bases import Base, FrozenFeatures
from losa.adapt.streams.contract import StreamCourse, pooling_weights
from losa.adapt.streams.products import combine, inner, sum_images, with_images
from losa.adapt.streams.tape import Side, Tape
from losa.cache_format.identity import TokenLayout


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
        self._tape = Tape(
            layers=max(1, len(course.layers)),
            members=members,
            images=features.images,
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
        self._token = _Update.apply(self._tape, u, v, self._token)

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        weights = pooling_weights(kind, self._tokens).to(self._output)
        pooled = (weights @ self._output).expand(self._tape.members, -1, -1)
        if not self._tape.ledgers:
            return pooled
        rows = weights.expand(self._tape.members, 1, -1)
        updates: Tensor = _Product.apply(self._tape, None, "tokens", rows, self._token)
        return pooled + updates[..., 0, :]

    def _product(self, side: Side, weight: Tensor) -> Tensor:
        product: Tensor = _Product.apply(self._tape, self._base, side, weight, self._token)
        return product


class _Product(Function):
    """``W N(x)^T`` or ``T N(x)``."""

    @staticmethod
    def forward(
        ctx: Any,
        tape: Tape,
        base: Base | None,
        side: Side,
        weight: Tensor,
        token: Tensor,  # noqa: ARG004 -- orders the backward pass
    ) -> Tensor:
        ctx.weight_dtype = weight.dtype
        weight = weight.to(tape.dtype)
        scale = None if base is None else base.scale
        rows = with_images(weight) * scale[:, None] if side == "tokens" and scale is not None else weight
        updates: Tensor | None = None
        coefficients = {}
        for ledger in tape.ledgers.values():
            summed, left = ledger.factors(side)
            coefficients[ledger] = inner(rows, summed.all())
            part = with_images(combine(coefficients[ledger], left.all()))
            updates = part if updates is None else updates + part
        if tape.recording:
            made = tape.products[side].add(rows, coefficients) if coefficients else None
            ctx.kept = (tape, base, side, weight, rows, made)
        if updates is not None:
            # A copy only where no update and no weight differs from image to image.
            updates = updates.expand(-1, tape.images, -1, -1).contiguous()
            if side == "width" and scale is not None:
                updates *= scale[:, None]
        if base is None:
            assert updates is not None, "a product has a base or updates"
            return updates
        result = _base_product(base.normalised, side, weight)
        return result.contiguous() if updates is None else updates.add_(result)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tape, base, side, weight, rows, made = _released(ctx)
        scale = None if base is None else base.scale
        needed = ctx.needs_input_grad[3]
        of_weight: Tensor | None = None
        if base is not None and needed:
            of_weight = _base_weight_gradient(base.normalised, side, gradient, weight)
        if side == "width" and scale is not None:
            gradient = gradient * scale[:, None]
        of_rows: Tensor | None = None
        if made is not None:
            tape.products[side].keep_gradient(made, gradient)
            for ledger, coefficients in made.coefficients.items():
                summed, left = ledger.factors(side)
                updates = slice(coefficients.shape[-1])
                of_coefficients = made.gradients[ledger] = inner(gradient, left.all()[..., updates, :])
                if needed:
                    if coefficients.ndim == 3:
                        of_coefficients = of_coefficients.sum(dim=1)
                    part = combine(of_coefficients, summed.all()[..., updates, :])
                    part = sum_images(part) if part.ndim > rows.ndim else part
                    of_rows = part if of_rows is None else of_rows + part
        if of_rows is not None:
            if side == "tokens" and scale is not None:
                of_rows = of_rows * scale[:, None]
            if of_rows.ndim > weight.ndim:
                of_rows = sum_images(of_rows)
            of_weight = of_rows if of_weight is None else of_weight + of_rows
        of_weight = None if of_weight is None else of_weight.to(ctx.weight_dtype)
        return None, None, None, of_weight, gradient.new_empty(0)


class _Update(Function):
    """``x += u^T v``."""

    @staticmethod
    def forward(ctx: Any, tape: Tape, u: Tensor, v: Tensor, token: Tensor) -> Tensor:
        ledger = tape.ledger(u, v)
        place = ledger.u.append(u.to(tape.dtype))
        ledger.v.append(v.to(tape.dtype))
        # Products from these numbers on have seen the update.
        seen = {side: len(products.made) for side, products in tape.products.items()}
        ctx.kept = (tape, ledger, place, seen)
        ctx.dtypes, ctx.ndims = (u.dtype, v.dtype), (u.ndim, v.ndim)
        return token.new_empty(0)

    @staticmethod
    def backward(ctx: Any, token: Tensor) -> tuple[Tensor | None, ...]:
        tape, ledger, place, seen = _released(ctx)
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for side, products in tape.products.items():
            # One whose result the loss does not depend on has no gradient.
            later = [made for made in products.made[seen[side] :] if made.gradients]
            summed, left = (1, 0) if side == "width" else (0, 1)
            if later and ctx.needs_input_grad[1 + left]:
                coefficients = _stacked([made.coefficients[ledger] for made in later], place)
                parts[left].append(combine(coefficients.mT, products.gradients_of(later)))
            if later and ctx.needs_input_grad[1 + summed]:
                gradients = _stacked([made.gradients[ledger] for made in later], place)
                weights = products.weights_of(later)
                if weights.ndim == 3 and ctx.ndims[summed] == 3:
                    gradients = gradients.sum(dim=1)
                parts[summed].append(combine(gradients.mT, weights))
        of_u, of_v = map(_total, parts, ctx.ndims, ctx.dtypes)
        return None, of_u, of_v, token


def _released(ctx: Any) -> Any:
    """What the forward pass kept. Autograd frees what it saved as the backward pass goes, and so do we."""
    if ctx.kept is None:
        raise RuntimeError("the gradient of a factored stream was taken already; it can be taken once")
    kept, ctx.kept = ctx.kept, None
    return kept


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
        reduced = sum_images(part) if part.ndim > ndim else part
        total = reduced if total is None else total + reduced
    return None if total is None else total.to(dtype)


def _base_product(
    base: Float[Tensor, "images tokens width"], side: Side, weight: Float[Tensor, "members ... columns"]
) -> Float[Tensor, "members images rank _"]:
    members, rank = weight.shape[0], weight.shape[-2]
    flat = weight.flatten(0, 1) if weight.ndim == 3 else weight.transpose(0, 1).flatten(1, 2)
    product: Tensor = torch.matmul(flat, base.mT if side == "width" else base).unflatten(1, (members, rank))
    return product.transpose(0, 1)


def _base_weight_gradient(
    base: Float[Tensor, "images tokens width"], side: Side, gradient: Tensor, weight: Tensor
) -> Tensor:
    """Of the weight."""
    if side == "width":
        # Over images and tokens at once: one large product, rounded once.
        rows = gradient.transpose(1, 2).flatten(2).flatten(0, 1)
        return torch.matmul(rows, base.flatten(0, 1)).view(*gradient.shape[:3:2], -1)
    each = torch.bmm(gradient.transpose(0, 1).flatten(1, 2), base.mT)
    parts = each.unflatten(1, gradient.shape[:3:2]).transpose(0, 1)
    return parts if weight.ndim == 4 else sum_images(parts)
