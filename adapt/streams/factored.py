"""The fast stream: x is never formed.

Both projections of ``x = base + sum_j u_j^T v_j`` distribute over the sum:

    W x^T = W base^T + (W v^T) u        T x = T base + (T u^T) v

with all earlier updates stacked along their rank. ``W base^T`` of all members is one product, whose frozen
factor is read once for all members, is saved by none of them, and needs no gradient. Under the frozen norm
the rows of ``base`` are normalised beforehand, and every token's updates are multiplied by its ``scale``.

Autograd would save a copy of the stacked updates for every layer and add up one gradient for each copy. Here
the layers share one stack (`Tape`), and the backward pass mirrors the forward pass: as a product reads all
earlier updates at once, so the gradient of an update reads all later products at once. The order is
autograd's: each product and update depends on the update before it through an empty tensor, ``previous``.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.contract import StreamSites
from losa.adapt.streams.frames_as_images import FramesAsImages
from losa.adapt.streams.frozen_features import FrozenFeatures, NormalisedBase
from losa.adapt.streams.kept import take_kept
from losa.adapt.streams.pooling import pool_tokens, pooling_weights
from losa.adapt.streams.products import combine, inner, sum_images, with_images_axis
from losa.adapt.streams.tape import Axis, Tape
from losa.cache_format.identity import TokenLayout


class Factored:
    """A `Stream` that never forms x. It has the norms that are linear in x: ``frozen`` and ``none``."""

    def __init__(
        self,
        features: FrozenFeatures | FramesAsImages,
        sites: StreamSites,
        *,
        members: int,
        norm: Norm,
        tokens: TokenLayout,
    ) -> None:
        """Start a stream.

        Args:
            features: the frozen features.
            sites: the sites that each layer and the output start from.
            members: length of the members axis.
            norm: ``frozen`` or ``none``; see `Materialised`.
            tokens: layout of the tokens, for pooling.
        """
        assert norm != "layer", "LayerNorm of x is not linear in x"
        self._bases = features.bases(sites, norm)
        self._base: NormalisedBase | None = None
        self._output = features.output(sites.output)
        self._tokens = tokens
        self._tape = Tape(
            layers=max(1, len(sites.layers)),
            members=members,
            images=features.images,
            dtype=features.dtype,
            recording=torch.is_grad_enabled(),
        )
        self._previous = torch.empty(0, device=self._output.device)

    @property
    def dtype(self) -> torch.dtype:
        """See `Stream`."""
        return self._tape.dtype

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
        self._previous = _Update.apply(self._tape, u, v, self._previous)

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        pooled = pool_tokens(kind, self._tokens, self._output).expand(self._tape.members, -1, -1)
        if not self._tape.updates:
            return pooled
        rows = pooling_weights(kind, self._tokens, self._output).expand(self._tape.members, 1, -1)
        updates: Tensor = _Product.apply(self._tape, None, "tokens", rows, self._previous)
        return pooled + updates[..., 0, :]

    def _product(self, axis: Axis, weight: Tensor) -> Tensor:
        product: Tensor = _Product.apply(self._tape, self._base, axis, weight, self._previous)
        return product


class _Product(Function):
    """``W N(x)^T`` or ``T N(x)``."""

    @staticmethod
    def forward(
        ctx: Any,
        tape: Tape,
        base: NormalisedBase | None,
        axis: Axis,
        weight: Tensor,
        previous: Tensor,  # noqa: ARG004 -- orders the backward pass
    ) -> Tensor:
        ctx.weight_dtype = weight.dtype
        weight = weight.to(tape.dtype)
        scale = None if base is None else base.scale
        rows = weight
        if axis == "tokens" and scale is not None:
            rows = with_images_axis(weight) * scale[:, None]
        updates: Tensor | None = None
        coefficients = {}
        for stack in tape.updates.values():
            summed, other = stack.factors(axis)
            coefficients[stack] = inner(rows, summed.all())
            updates = combine(coefficients[stack], other.all(), updates)
        if tape.recording:
            record = tape.products[axis].append(rows, coefficients) if coefficients else None
            ctx.kept = (tape, base, axis, weight, rows, record)
        if updates is not None:
            updates = with_images_axis(updates)
        if base is None:
            assert updates is not None, "a product has a base or updates"
            return updates.expand(-1, tape.images, -1, -1)
        result = _base_product(base.normalised, axis, weight)
        if updates is None:
            return result.contiguous()
        # In a graph, an argument `out` would get the strides of the result.
        into = updates if updates.shape == result.shape and not torch.compiler.is_compiling() else None
        if axis == "width" and scale is not None:
            return torch.addcmul(result, updates, scale[:, None], out=into).contiguous()
        return torch.add(updates, result, out=into).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tape, base, axis, weight, rows, record = take_kept(ctx, "factored")
        scale = None if base is None else base.scale
        needs_grad_weight = ctx.needs_input_grad[3]
        grad_weight: Tensor | None = None
        if base is not None and needs_grad_weight:
            grad_weight = _base_grad_weight(base.normalised, axis, grad, weight)
        if axis == "width" and scale is not None:
            grad = grad * scale[:, None]
        grad_rows: Tensor | None = None
        if record is not None:
            tape.products[axis].keep_grad(record, grad)
            for stack, coefficients in record.coefficients.items():
                summed, other = stack.factors(axis)
                updates = slice(coefficients.shape[-1])
                grad_coefficients = inner(grad, other.all()[..., updates, :])
                record.grad_coefficients[stack] = grad_coefficients
                if needs_grad_weight:
                    if coefficients.ndim == 3:
                        grad_coefficients = grad_coefficients.sum(dim=1)
                    term = combine(grad_coefficients, summed.all()[..., updates, :])
                    term = sum_images(term) if term.ndim > rows.ndim else term
                    grad_rows = term if grad_rows is None else grad_rows + term
        if grad_rows is not None:
            if axis == "tokens" and scale is not None:
                grad_rows = grad_rows * scale[:, None]
            if grad_rows.ndim > weight.ndim:
                grad_rows = sum_images(grad_rows)
            grad_weight = grad_rows if grad_weight is None else grad_weight + grad_rows
        grad_weight = None if grad_weight is None else grad_weight.to(ctx.weight_dtype)
        return None, None, None, grad_weight, grad.new_empty(0)


class _Update(Function):
    """``x += u^T v``."""

    @staticmethod
    def forward(ctx: Any, tape: Tape, u: Tensor, v: Tensor, previous: Tensor) -> Tensor:
        stack = tape.updates_like(u, v)
        positions = stack.u.append(u.to(tape.dtype))
        stack.v.append(v.to(tape.dtype))
        # The products that will read this update are those recorded from now on.
        first_readers = {axis: len(products.records) for axis, products in tape.products.items()}
        ctx.kept = (tape, stack, positions, first_readers)
        ctx.dtypes, ctx.ndims = (u.dtype, v.dtype), (u.ndim, v.ndim)
        return previous.new_empty(0)

    @staticmethod
    def backward(ctx: Any, grad_previous: Tensor) -> tuple[Tensor | None, ...]:
        tape, stack, positions, first_readers = take_kept(ctx, "factored")
        totals: list[Tensor | None] = [None, None]
        for axis, products in tape.products.items():
            # A product that the loss does not depend on has no gradient.
            readers = [
                record for record in products.records[first_readers[axis] :] if record.grad_coefficients
            ]
            summed, other = (1, 0) if axis == "width" else (0, 1)
            if readers and ctx.needs_input_grad[1 + other]:
                coefficients = _stack_rows([record.coefficients[stack] for record in readers], positions)
                grads = products.grads_of(readers)
                totals[other] = _plus(totals[other], coefficients.mT, grads, ctx.ndims[other])
            if readers and ctx.needs_input_grad[1 + summed]:
                grads = _stack_rows([record.grad_coefficients[stack] for record in readers], positions)
                weights = products.weights_of(readers)
                if weights.ndim == 3 and ctx.ndims[summed] == 3:
                    grads = grads.sum(dim=1)
                totals[summed] = _plus(totals[summed], grads.mT, weights, ctx.ndims[summed])
        grad_u, grad_v = (
            None if total is None else _in_shape(total, ndim).to(dtype)
            for total, ndim, dtype in zip(totals, ctx.ndims, ctx.dtypes, strict=True)
        )
        return None, grad_u, grad_v, grad_previous


def _stack_rows(coefficients: list[Tensor], positions: slice) -> Tensor:
    """Coefficients of some updates in several products: (members, [images], rows of products, updates)."""
    chosen = [each[..., positions] for each in coefficients]
    if len({each.ndim for each in chosen}) > 1:
        images = max(each.shape[1] for each in chosen if each.ndim == 4)
        chosen = [with_images_axis(each).expand(-1, images, -1, -1) for each in chosen]
    return torch.cat(chosen, dim=-2)


def _plus(total: Tensor | None, s: Tensor, f: Tensor, ndim: int) -> Tensor:
    """``total + s f``, two terms of the gradient of a factor with so many axes."""
    if total is None or total.ndim == max(s.ndim, f.ndim):
        return combine(s, f, total)
    return _in_shape(total, ndim) + _in_shape(combine(s, f), ndim)


def _in_shape(grad: Tensor, ndim: int) -> Tensor:
    """The gradient of a factor with so many axes: summed over images if it has no axis for them."""
    return sum_images(grad) if grad.ndim > ndim else grad


def _base_product(
    base: Float[Tensor, "images tokens width"], axis: Axis, weight: Float[Tensor, "members ... columns"]
) -> Float[Tensor, "members images rank _"]:
    members, rank = weight.shape[0], weight.shape[-2]
    if axis == "width":
        # Over images and tokens at once: one large product.
        rows = torch.mm(weight.flatten(0, 1), base.flatten(0, 1).mT)
        return rows.view(members, rank, *base.shape[:2]).transpose(1, 2)
    if weight.ndim == 3:
        flat = weight.flatten(0, 1).expand(base.shape[0], -1, -1)
    else:
        flat = weight.transpose(0, 1).flatten(1, 2)
    products = torch.bmm(flat, base)
    product: Tensor = products.unflatten(1, (members, rank))
    return product.transpose(0, 1)


def _base_grad_weight(
    base: Float[Tensor, "images tokens width"], axis: Axis, grad: Tensor, weight: Tensor
) -> Tensor:
    """The gradient of the weight of `_base_product`."""
    if axis == "width":
        # Over images and tokens at once: one large product, rounded once.
        rows = grad.transpose(1, 2).flatten(2).flatten(0, 1)
        return torch.mm(rows, base.flatten(0, 1)).view(*grad.shape[:3:2], -1)
    products = torch.bmm(grad.transpose(0, 1).flatten(1, 2), base.mT)
    grads = products.unflatten(1, grad.shape[:3:2]).transpose(0, 1)
    return grads if weight.ndim == 4 else sum_images(grads)
