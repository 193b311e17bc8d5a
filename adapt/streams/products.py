"""Products of thin matrices whose images axes are optional, each computed as few large matrix products.

Every argument is ``(members, [images], rows, columns)``. The images axis may be missing in any of them, and
is missing in the result if it is missing in both.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def inner(
    a: Float[Tensor, "members ... rows columns"], f: Float[Tensor, "members ... others columns"]
) -> Float[Tensor, "members ... rows others"]:
    """``a f^T``: inner products of all rows of ``a`` with all rows of ``f``."""
    return combine(a, f.mT)


def combine(
    s: Float[Tensor, "members ... rows terms"], f: Float[Tensor, "members ... terms columns"]
) -> Float[Tensor, "members ... rows columns"]:
    """``s f``: linear combinations of the rows of ``f``."""
    if s.ndim == f.ndim:
        return s @ f
    if s.ndim == 3:
        return s[:, None] @ f
    # One product for each member, not for each image.
    members, images, rows, terms = s.shape
    return (s.reshape(members, images * rows, terms) @ f).view(members, images, rows, -1)


def sum_images(rows: Float[Tensor, "members images rows columns"]) -> Float[Tensor, "members rows columns"]:
    """The sum over images, in float32 at least."""
    return rows.sum(dim=1, dtype=torch.promote_types(rows.dtype, torch.float32))


def with_images_axis(factor: Float[Tensor, "members ... rows columns"]) -> Tensor:
    """The matrix with an images axis; one that it did not have before has length one."""
    return factor[:, None] if factor.ndim == 3 else factor
