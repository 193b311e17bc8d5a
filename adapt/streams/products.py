"""Products of thin matrices with optional images axes, each as few and as large as its axes allow.

Rows ``a``, ``f`` and coefficients ``s`` are ``(members, [images], rows, columns)``; the images axis may be
missing in any of them, and is missing in the result where both lack it.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def inner(
    a: Float[Tensor, "members ... rows columns"], f: Float[Tensor, "members ... others columns"]
) -> Float[Tensor, "members ... rows others"]:
    """``a f^T``: the products of all rows with all others."""
    return combine(a, f.mT)


def combine(
    s: Float[Tensor, "members ... rows terms"], f: Float[Tensor, "members ... terms columns"]
) -> Float[Tensor, "members ... rows columns"]:
    """``s f``: rows that are sums of terms."""
    if s.ndim == f.ndim:
        return s @ f
    if s.ndim == 3:
        return s[:, None] @ f
    # One product for each member, not for each image.
    members, images, rows, terms = s.shape
    return (s.reshape(members, images * rows, terms) @ f).view(members, images, rows, -1)


def sum_images(rows: Float[Tensor, "members images rows columns"]) -> Float[Tensor, "members rows columns"]:
    """Over the images, in float32 at least."""
    return rows.sum(dim=1, dtype=torch.promote_types(rows.dtype, torch.float32))


def with_images(factor: Float[Tensor, "members ... rows columns"]) -> Tensor:
    """The same with an images axis, of length one if there was none."""
    return factor[:, None] if factor.ndim == 3 else factor
