"""Products of updates that lie along both axes of a clip: the updates are summed up first, and not kept.

From its factors, a product along time of an update within frames takes ``rank`` times as many operations as
there are numbers in x; so does one along space of an update along time. To form the update and to project it
takes twice as many as there are. The sum of the updates is as large as x, so a part of it is formed at a
time, and once more in the backward pass.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

FORMED_NUMBERS = 2**21
"""Most numbers that are formed at once: 8 MB in float32, about the size of a processor's cache."""

Axis = Literal["space", "time"]


class Update(NamedTuple):
    """An update within the frames of clips, or along their time."""

    u: Float[Tensor, "members ... rank _"]
    """Within frames ``(members, images, frames, rank, positions)``, else ``(members, rank, frames)``."""
    v: Float[Tensor, "members images _ _ width"]
    """Within frames ``(members, images, frames, rank, width)``, else ``(..., rank, positions, width)``."""

    @property
    def tokens(self) -> int:
        """Number of tokens of an image."""
        return self.u.shape[2] * (self.u.shape[4] if self.u.ndim == 5 else self.v.shape[3])


def formed_product(
    weight: Float[Tensor, "members ... rank _"],
    updates: Sequence[Update],
    scale: Float[Tensor, "images frames positions"] | None,
    axis: Axis,
) -> Float[Tensor, "members images _ _ width"]:
    """The sum of updates, projected along time or along space.

    Args:
        weight: along time ``(members, rank, frames)``; along space
            ``(members, images, frames, rank, positions)``.
        updates: at least one.
        scale: factor by which every token of the sum is multiplied; None for 1.
        axis: along what it is projected.

    Returns:
        Along time ``(members, images, rank, positions, width)``, along space ``(..., frames, rank, width)``.
    """
    images, width = updates[0].v.shape[1], updates[0].v.shape[4]
    columns = max(1, FORMED_NUMBERS // updates[0].tokens)
    size = max(1, columns // width)
    products = []
    for parts in _parts(size, images, scale, weight, *(factor for update in updates for factor in update)):
        scaled, weighted, us, vs = parts[0], parts[1], parts[2::2], parts[3::2]
        narrow = zip(*(v.split(columns, dim=3) for v in vs), strict=True)
        product = [
            checkpoint(
                _product, axis, scaled, weighted, us, each, use_reentrant=False, preserve_rng_state=False
            )
            for each in narrow
        ]
        products.append(product[0] if len(product) == 1 else torch.cat(product, dim=3))
    return torch.cat(products).unflatten(0, (-1, images))


def _parts(
    size: int, images: int, scale: Tensor | None, *factors: Tensor
) -> Iterator[tuple[Tensor | None, ...]]:
    """The scale and the factors of some images of a member at a time.

    Tensors are taken apart by unbind and split, whose gradients are put together in one piece.
    """
    parts = -(-images // size)
    scales = [None] * parts if scale is None else scale.split(size)
    for of_member in zip(*(factor.unbind() for factor in factors), strict=True):
        of_images = [each.split(size) if each.ndim == 4 else [each] * parts for each in of_member]
        yield from zip(scales, *of_images, strict=True)


def _product(
    axis: Axis, scale: Tensor | None, weight: Tensor, us: Sequence[Tensor], vs: Sequence[Tensor]
) -> Tensor:
    """`formed_product` of some images of a member, and of some channels."""
    total: Tensor | None = None
    for u, v in zip(us, vs, strict=True):
        left, right = (u, v) if u.ndim == 4 else (u.expand(len(v), 1, -1, -1), v.flatten(2)[:, None])
        left, right = left.flatten(0, 1).mT, right.flatten(0, 1)
        if total is None:
            total = torch.bmm(left, right)
        else:
            total = torch.baddbmm(total.view(*left.shape[:2], -1), left, right)
        total = total.view(len(v), u.shape[1], -1, v.shape[3])  # (images, frames, positions, channels)
    assert total is not None, "there is an update"
    total = total if scale is None else total * scale[..., None]
    if axis == "space":
        return weight @ total
    # torch.matmul would copy the sum.
    projected = torch.bmm(weight.expand(len(total), -1, -1), total.flatten(2))
    return projected.unflatten(2, total.shape[2:])
