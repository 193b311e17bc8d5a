"""Products of thin matrices whose images axes are optional, each as few large matrix products or by a kernel.

Every argument is ``(members, [images], rows, columns)``. The images axis may be missing in any of them, and
is missing in the result if it is missing in both.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.kernels import computes_combinations, few_combinations


def inner(
    a: Float[Tensor, "members ... rows columns"], f: Float[Tensor, "members ... others columns"]
) -> Float[Tensor, "members ... rows others"]:
    """``a f^T``: inner products of all rows of ``a`` with all rows of ``f``."""
    return combine(a, f.mT)


def combine(
    s: Float[Tensor, "members ... rows terms"],
    f: Float[Tensor, "members ... terms columns"],
    total: Float[Tensor, "members ... rows columns"] | None = None,
) -> Float[Tensor, "members ... rows columns"]:
    """``s f``: linear combinations of the rows of ``f``, by `few_combinations` where it is faster.

    Args:
        s: the coefficients.
        f: the rows.
        total: earlier combinations, to which these are added; its memory may be used.
    """
    if total is not None and total.ndim != max(s.ndim, f.ndim):
        return with_images_axis(total) + with_images_axis(combine(s, f))
    if s.ndim > f.ndim:
        # One product for each member, not for each image.
        members, images, rows, _ = s.shape
        s = s.reshape(members, images * rows, -1)
        return _multiplied(s, f, None if total is None else total.view(*s.shape[:2], -1)).view(
            members, images, rows, -1
        )
    if f.ndim == 3:
        return _multiplied(s, f, total)
    if computes_combinations(s, f, total):
        return few_combinations(s, f, total)
    members, images = f.shape[:2]
    s = with_images_axis(s).expand(-1, images, -1, -1).flatten(0, 1)
    flat = _multiplied(s, f.flatten(0, 1), None if total is None else total.flatten(0, 1))
    result: Tensor = flat.unflatten(0, (members, images))
    return result


def _multiplied(
    s: Float[Tensor, "batch rows terms"],
    f: Float[Tensor, "batch terms columns"],
    total: Float[Tensor, "batch rows columns"] | None,
) -> Float[Tensor, "batch rows columns"]:
    return torch.bmm(s, f) if total is None else total.baddbmm_(s, f)


def sum_images(rows: Float[Tensor, "members images rows columns"]) -> Float[Tensor, "members rows columns"]:
    """The sum over images, in float32 at least."""
    return rows.sum(dim=1, dtype=torch.float32 if rows.itemsize < 4 else rows.dtype)


def with_images_axis(factor: Float[Tensor, "members ... rows columns"]) -> Tensor:
    """The matrix with an images axis; one that it did not have before has length one."""
    return factor[:, None] if factor.ndim == 3 else factor
