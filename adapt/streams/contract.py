"""The residual stream with low-rank updates, on which side networks are written.

A stream starts from frozen features, and every layer adds a low-rank update. What layer ``i`` sees is

    x = base_i + sum_j u_j^T v_j

with ``base_i`` (tokens x width) read from the cache and thin ``u_j`` (rank x tokens) and ``v_j`` (rank x
width). A side network never touches x: it asks for thin projections of it and adds updates. So an
implementation is free not to form x at all.

Axes: members, images, rank, tokens, width. Everything thin is kept as ``rank`` rows, over tokens or over
width. Parameters and activations lead with members; the frozen features have no members axis.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Pool
from losa.cache_format.identity import TokenLayout

NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCourse:
    """Which sites make up the bases of a stream. Sites are counted on the activations' site axis."""

    layers: tuple[tuple[int, ...], ...]
    """For each layer the sites whose sum is ``base_i``; a site may count twice."""
    output: int
    """The site to which all updates are added in the end."""

    @classmethod
    def accumulating(cls, sites: int) -> "StreamCourse":
        """LAST's: layer i sees the sum of the sites up to its own; the output starts from the last one."""
        return cls(layers=tuple(tuple(range(site + 1)) for site in range(sites)), output=sites - 1)


@runtime_checkable  # so that beartype can check it while the tests run
class Stream(Protocol):
    """The contract. ``enter`` must come before the projections of a layer."""

    def enter(self, layer: int) -> None:
        """Go on to the input of a layer; updates made so far are part of it."""

    def project(
        self, weight: Float[Tensor, "members rank width"]
    ) -> Float[Tensor, "members images rank tokens"]:
        """``W N(x)^T``: the normalised input, mixed along its width."""

    def project_tokens(
        self, weight: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images rank width"]:
        """``T N(x)``: the normalised input, mixed along its tokens.

        Args:
            weight: ``(members, images, rank, tokens)``, or without the images axis.
        """

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """``x += u^T v``, for this layer and all that follow.

        Args:
            u: ``(members, images, rank, tokens)``, or without the images axis.
            v: ``(members, images, rank, width)``, or without the images axis.
        """

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """The stream's end, ``output + sum_j u_j^T v_j``: its cls token, or the mean over its grid."""


def pooling_weights(kind: Pool, tokens: TokenLayout) -> Float[Tensor, "tokens"]:
    """What each token counts: the (first) cls token, averaged over frames, or the mean of all grid tokens.

    In float64, so that casting rounds once.

    >>> pooling_weights("mean", TokenLayout(cls=1, registers=0, grid=(2, 2)))
    tensor([0.0000, 0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    weights = torch.zeros(tokens.frames, tokens.count // tokens.frames, dtype=torch.float64)
    weights[:, slice(1) if kind == "cls" else slice(tokens.prefix, None)] = 1
    return weights.flatten() / weights.sum()
