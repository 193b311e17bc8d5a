"""The residual stream with low-rank updates, on which side networks are written.

A stream starts from frozen features, and every layer adds a low-rank update. What layer ``i`` sees is

    x = base_i + sum_j U_j V_j

with ``base_i`` read from the cache and thin ``U_j`` (tokens x rank) and ``V_j`` (rank x width). A side
network never touches x: it asks for thin projections of it and adds updates. So an implementation is
free not to form x at all.

Axes: members, images, tokens, width, rank. Parameters and activations lead with members; the frozen
features have no members axis.
"""

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Norm, Pool
from losa.cache_format.identity import TokenLayout

NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCourse:
    """Which sites make up the bases of a stream. Sites are counted on the activations' site axis."""

    layers: tuple[tuple[int, ...], ...]
    """For each layer the sites whose sum is ``base_i``; a site may count twice."""
    output: int
    """The site to which all updates are added in the end."""


@runtime_checkable  # so that beartype can check it while the tests run
class Stream(Protocol):
    """The contract. ``enter`` must come before the projections of a layer."""

    def enter(self, layer: int) -> None:
        """Go on to the input of a layer; updates made so far are part of it."""

    def project(
        self, weight: Float[Tensor, "members width rank"]
    ) -> Float[Tensor, "members images tokens rank"]:
        """``N(x) W``: the normalised input, mixed along its width."""

    def project_tokens(
        self, weight: Float[Tensor, "members tokens rank"]
    ) -> Float[Tensor, "members images rank width"]:
        """``T' N(x)``: the normalised input, mixed along its tokens."""

    def update(self, u: Float[Tensor, "members ..."], v: Float[Tensor, "members ..."]) -> None:
        """``x += U V``, for this layer and all that follow.

        Args:
            u: ``(members, images, tokens, rank)``, or without the images axis.
            v: ``(members, images, rank, width)``, or without the images axis.
        """

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """The stream's end, ``output + sum_j U_j V_j``: its cls token, or the mean over its grid."""


class Materialised:
    """The plain reference: x is formed, and autograd does the rest."""

    def __init__(
        self,
        activations: Float[Tensor, "images sites tokens width"],
        course: StreamCourse,
        *,
        members: int,
        norm: Norm,
        tokens: TokenLayout,
    ) -> None:
        """Start a stream.

        Args:
            activations: the frozen features.
            course: which of them each layer sees.
            members: length of the members axis.
            norm: ``layer`` normalises x over its width; ``frozen`` with mean and variance of ``base_i``
                alone, which is the same until the first update and stays linear in x; ``none`` not at all.
            tokens: which tokens are the grid.
        """
        self._activations = activations
        self._course = course
        self._norm = norm
        self._tokens = tokens
        self._base = activations[:, course.output]
        self._summed: Counter[int] = Counter()
        self._updates = self._base.new_zeros(members, *self._base.shape)

    def enter(self, layer: int) -> None:
        """See `Stream`."""
        wanted = Counter(self._course.layers[layer])
        # A base that grows from layer to layer is carried on, not summed anew.
        grows = bool(self._summed) and self._summed <= wanted
        sites = (wanted - self._summed if grows else wanted).elements()
        terms = [self._activations[:, site] for site in sites]
        self._base = reduce(add, [self._base, *terms] if grows else terms)
        self._summed = wanted

    def project(
        self, weight: Float[Tensor, "members width rank"]
    ) -> Float[Tensor, "members images tokens rank"]:
        """See `Stream`."""
        return self._normalised() @ weight[:, None]

    def project_tokens(
        self, weight: Float[Tensor, "members tokens rank"]
    ) -> Float[Tensor, "members images rank width"]:
        """See `Stream`."""
        return weight.mT[:, None] @ self._normalised()

    def update(self, u: Float[Tensor, "members ..."], v: Float[Tensor, "members ..."]) -> None:
        """See `Stream`."""
        self._updates = self._updates + _with_images(u) @ _with_images(v)

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """See `Stream`."""
        return pool_tokens(self._activations[:, self._course.output] + self._updates, kind, self._tokens)

    def _normalised(self) -> Float[Tensor, "members images tokens width"]:
        x = self._base + self._updates
        if self._norm == "none":
            return x
        if self._norm == "layer":
            return functional.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
        variance, mean = torch.var_mean(self._base, dim=-1, keepdim=True, correction=0)
        return (x - mean) * torch.rsqrt(variance + NORM_EPS)


def pool_tokens(
    x: Float[Tensor, "*lead tokens width"], kind: Pool, tokens: TokenLayout
) -> Float[Tensor, "*lead width"]:
    """The (first) cls token, averaged over frames, or the mean of all grid tokens."""
    frames: Tensor = x.unflatten(-2, (tokens.frames, tokens.count // tokens.frames))
    if kind == "cls":
        return frames[..., 0, :].mean(dim=-2)
    return frames[..., tokens.prefix :, :].mean(dim=(-3, -2))


def _with_images(factor: Tensor) -> Tensor:
    return factor[:, None] if factor.ndim == 3 else factor
