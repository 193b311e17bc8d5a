"""The stream for updates along space and along time: their sum is kept once, not once for each layer.

An update along time is as large as x where the rank is the number of frames. Products with its factors take
more operations than products with the sum, so `Factored` gains nothing here. Autograd would keep x for each
product. Here there is one sum, to which each update is added, and from which the backward pass takes it away
again before it reaches the product before it; the gradient of x is one sum as well. The order is that of the
calls: each depends on the one before through an empty tensor, ``previous``.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from losa.adapt.architecture import Norm, Pool
from losa.adapt.streams.contract import StreamSites
from losa.adapt.streams.frozen_features import FrozenFeatures, NormalisedBase
from losa.adapt.streams.kept import take_kept
from losa.adapt.streams.pooling import pool_tokens, pooling_weights
from losa.cache_format.identity import TokenLayout

NUMBERS_AT_ONCE = 2**20
"""Most numbers of x that are normalised at once, if an image has no more: 4 MB in float32."""

_Axis = Literal["width", "tokens", "space", "time"]


class SummedFrames:
    """A `SpaceTimeStream` that keeps x once. Its norms are linear in x: ``frozen`` and ``none``."""

    def __init__(
        self,
        features: FrozenFeatures,
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
            tokens: layout of the tokens, for frames and for pooling.
        """
        assert norm != "layer", "LayerNorm of x is not linear in x"
        self._bases = features.bases(sites, norm)
        self._base: NormalisedBase | None = None
        self._output = features.output(sites.output)
        self._tokens = tokens
        self._sum = _Sum(members, self._output, tokens.frames, features.dtype)
        self._previous = self._output.new_empty(0)

    @property
    def dtype(self) -> torch.dtype:
        """See `Stream`."""
        return self._sum.dtype

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

    def project_space(
        self, weight: Float[Tensor, "members ... positions"]
    ) -> Float[Tensor, "members images frames rank width"]:
        """See `FrameStream`."""
        return self._product("space", weight)

    def project_time(
        self, weight: Float[Tensor, "members rank frames"]
    ) -> Float[Tensor, "members images rank positions width"]:
        """See `SpaceTimeStream`."""
        product = self._product("time", weight)
        by_position: Tensor = product.unflatten(3, (-1, self._output.shape[2]))
        return by_position

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """See `Stream`."""
        self._previous = _Update.apply(self._sum, "tokens", u, v, self._previous)

    def update_space(
        self,
        u: Float[Tensor, "members ... positions"],
        v: Float[Tensor, "members images frames rank width"],
    ) -> None:
        """See `FrameStream`."""
        self._previous = _Update.apply(self._sum, "space", u, v, self._previous)

    def update_time(
        self,
        u: Float[Tensor, "members rank frames"],
        v: Float[Tensor, "members images rank positions width"],
    ) -> None:
        """See `SpaceTimeStream`."""
        self._previous = _Update.apply(self._sum, "time", u, v.flatten(3), self._previous)

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        rows = pooling_weights(kind, self._tokens, self._output).expand(self._sum.members, 1, -1)
        updates, self._previous = _Product.apply(self._sum, None, "tokens", rows, self._previous)
        pooled: Tensor = pool_tokens(kind, self._tokens, self._output) + updates[:, :, 0]
        return pooled

    def _product(self, axis: _Axis, weight: Tensor) -> Tensor:
        assert self._base is not None, "a layer was entered"
        product, self._previous = _Product.apply(self._sum, self._base, axis, weight, self._previous)
        of_product: Tensor = product
        return of_product


class _Sum:
    """The sum of all updates so far, and that of the gradients of x so far."""

    def __init__(self, members: int, like: Tensor, frames: int, dtype: torch.dtype) -> None:
        """Begin with zero.

        Args:
            members: length of the members axis.
            like: features, for images, tokens, width and the device.
            frames: number of frames of a clip.
            dtype: dtype in which products are computed.
        """
        self.members, self.images, self.frames, self.dtype = members, len(like), frames, dtype
        # Float32 at least: what is taken away has to be what was added, but for rounding.
        self.x = like.new_zeros(members, *like.shape, dtype=torch.promote_types(dtype, torch.float32))
        self.grad: Tensor | None = None

    def matrices(self, x: Tensor, axis: _Axis) -> Float[Tensor, "_ rows columns"]:
        """Tokens of some images as matrices, whose rows are the places along an axis. It is a view."""
        if axis == "time":
            return x.view(len(x), self.frames, -1)
        return x.view(len(x) * self.frames, -1, x.shape[2]) if axis == "space" else x

    def parts(self) -> Iterator[tuple[int, slice]]:
        """Members, and some images of each at a time."""
        size = max(1, NUMBERS_AT_ONCE // self.x[0, 0].numel())
        for member in range(self.members):
            for first in range(0, self.images, size):
                yield member, slice(first, first + size)

    def normalised(self, base: NormalisedBase | None, member: int, images: slice) -> Tensor:
        """The input of a layer for some images of a member; without a base the sum as it is."""
        x = self.x[member, images].to(self.dtype)
        if base is None:
            return x
        if base.scale is None:
            return base.normalised[images] + x
        return torch.addcmul(base.normalised[images], x, base.scale[images, :, None])

    def add(self, axis: _Axis, u: Tensor, v: Tensor, sign: int) -> None:
        """Add an update along an axis, or take it away."""
        for member, images in self.parts():
            x = self.matrices(self.x[member, images], axis)
            us, vs = (_of_part(each, member, images, len(x)).to(self.dtype).to(x.dtype) for each in (u, v))
            x.baddbmm_(us.mT, vs, alpha=sign)


class _Product(Function):
    """``W N(x)^T``, or ``T N(x)`` along an axis of the tokens; and the next ``previous``."""

    @staticmethod
    def forward(
        ctx: Any, total: _Sum, base: NormalisedBase | None, axis: _Axis, weight: Tensor, previous: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.kept = (total, base, axis, weight)
        products: list[Tensor] = []
        for member, images in total.parts():
            x = total.matrices(total.normalised(base, member, images), axis)
            weights = _of_part(weight, member, images, len(x)).to(total.dtype)
            products.append(torch.bmm(weights, x.mT if axis == "width" else x))
        lead = (total.members, total.images, *([total.frames] if axis == "space" else []))
        return torch.cat(products).unflatten(0, lead), previous.new_empty(0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_previous: Tensor) -> tuple[Tensor | None, ...]:
        total, base, axis, weight = take_kept(ctx, "summed")
        if total.grad is None:
            total.grad = torch.zeros_like(total.x)
        grad_weight = _zeros_like(weight, total) if ctx.needs_input_grad[3] else None
        for member, images in total.parts():
            grads = grad[member, images].flatten(0, -3)
            weights = _of_part(weight, member, images, len(grads)).to(total.dtype)
            if grad_weight is not None:
                x = total.matrices(total.normalised(base, member, images), axis)
                product = torch.bmm(grads, x if axis == "width" else x.mT)
                _add_of_part(grad_weight, member, images, product)
            grad_x = torch.bmm(grads.mT, weights) if axis == "width" else torch.bmm(weights.mT, grads)
            into = total.grad[member, images]
            grad_x = grad_x.view(into.shape).to(into.dtype)
            if base is None or base.scale is None:
                into += grad_x
            else:
                into.addcmul_(grad_x, base.scale[images, :, None].to(into.dtype))
        grad_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        return None, None, None, grad_weight, grad_previous


class _Update(Function):
    """``x += u^T v`` along an axis of the tokens."""

    @staticmethod
    def forward(ctx: Any, total: _Sum, axis: _Axis, u: Tensor, v: Tensor, previous: Tensor) -> Tensor:
        ctx.kept = (total, axis, u, v)
        total.add(axis, u, v, 1)
        return previous.new_empty(0)

    @staticmethod
    def backward(ctx: Any, grad_previous: Tensor) -> tuple[Tensor | None, ...]:
        total, axis, u, v = take_kept(ctx, "summed")
        total.add(axis, u, v, -1)
        grad_u, grad_v = _zeros_like(u, total), _zeros_like(v, total)
        for member, images in total.parts():
            grads = total.matrices(total.grad[member, images].to(total.dtype), axis)
            us, vs = (_of_part(each, member, images, len(grads)).to(total.dtype) for each in (u, v))
            _add_of_part(grad_u, member, images, torch.bmm(vs, grads.mT))
            _add_of_part(grad_v, member, images, torch.bmm(us, grads))
        return None, None, grad_u.to(u.dtype), grad_v.to(v.dtype), grad_previous


def _of_part(factor: Tensor, member: int, images: slice, matrices: int) -> Float[Tensor, "matrices _ _"]:
    """A factor for some images of a member, one for each matrix."""
    if factor.ndim == 3:
        return factor[member].expand(matrices, -1, -1)
    return factor[member, images].flatten(0, -3)


def _zeros_like(factor: Tensor, total: _Sum) -> Tensor:
    """A gradient to which parts are added, in float32 at least."""
    return torch.zeros_like(factor, dtype=total.x.dtype)


def _add_of_part(grad: Tensor, member: int, images: slice, of_part: Tensor) -> None:
    """Add the gradient of `_of_part`."""
    if grad.ndim == 3:
        grad[member] += of_part.sum(dim=0, dtype=grad.dtype)
    else:
        into = grad[member, images]
        into += of_part.view(into.shape)
