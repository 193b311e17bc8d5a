"""The residual stream with low-rank updates, the interface that side networks are written against.

A stream starts from frozen features, and every layer adds a low-rank update. The input of layer ``i`` is

    x = base_i + sum_j u_j^T v_j

with ``base_i`` (tokens x width) read from the cache and thin ``u_j`` (rank x tokens) and ``v_j`` (rank x
width). A side network never accesses x: it only computes thin projections of x and adds updates. An
implementation therefore does not have to form x.

Axes: members, images, rank, tokens, width. Thin matrices have ``rank`` rows, over tokens or over width.
Parameters and activations have a leading members axis; the frozen features have none.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.architecture import Pool

NORM_EPS = 1e-6
"""Added to the variance in every norm of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSites:
    """The sites that a stream starts from, as positions on the sites axis of the activations."""

    layers: tuple[tuple[int, ...], ...]
    """For each layer, the sites whose sum is ``base_i``; a site may appear twice."""
    output: int
    """The site to which all updates are added at the end."""

    @classmethod
    def cumulative(cls, sites: int) -> "StreamSites":
        """Layer i sees the sum of sites 0 to i, as in LAST; the output is the last site."""
        return cls(layers=tuple(tuple(range(site + 1)) for site in range(sites)), output=sites - 1)


@runtime_checkable  # so that beartype can check it while the tests run
class Stream(Protocol):
    """The residual stream of all members. ``enter`` must precede the projections of a layer."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which products are computed."""

    def enter(self, layer: int) -> None:
        """Move to the input of a layer, which includes all updates made so far."""

    def project(
        self, weight: Float[Tensor, "members rank width"]
    ) -> Float[Tensor, "members images rank tokens"]:
        """``W N(x)^T``: the normalised input, projected along its width."""

    def project_tokens(
        self, weight: Float[Tensor, "members ... tokens"]
    ) -> Float[Tensor, "members images rank width"]:
        """``T N(x)``: the normalised input, projected along its tokens.

        Args:
            weight: ``(members, images, rank, tokens)``, or without the images axis.
        """

    def update(self, u: Float[Tensor, "members ... tokens"], v: Float[Tensor, "members ... width"]) -> None:
        """``x += u^T v``, for this layer and all later ones.

        Args:
            u: ``(members, images, rank, tokens)``, or without the images axis.
            v: ``(members, images, rank, width)``, or without the images axis.
        """

    def pool(self, kind: Pool) -> Float[Tensor, "members images width"]:
        """The cls token of ``output + sum_j u_j^T v_j``, or the mean over its grid."""


@runtime_checkable  # so that beartype can check it while the tests run
class FrameStream(Stream, Protocol):
    """A stream of clips that also works along the positions of a frame.

    ``tokens`` are ``frames * positions``, frame by frame.
    """

    def project_space(
        self, weight: Float[Tensor, "members ... positions"]
    ) -> Float[Tensor, "members images frames rank width"]:
        """``T N(x_f)`` for each frame ``f``: the normalised input, projected along the positions of a frame.

        Args:
            weight: ``(members, images, frames, rank, positions)``, or without the axes of images and frames.
        """

    def update_space(
        self,
        u: Float[Tensor, "members ... positions"],
        v: Float[Tensor, "members images frames rank width"],
    ) -> None:
        """``x_f += u^T v_f`` for each frame, for this layer and all later ones.

        Args:
            u: ``(members, images, frames, rank, positions)``, or without the axes of images and frames.
            v: one matrix for each frame.
        """


@runtime_checkable  # so that beartype can check it while the tests run
class SpaceTimeStream(FrameStream, Protocol):
    """A stream of clips that also works along the frames of a position."""

    def project_time(
        self, weight: Float[Tensor, "members rank frames"]
    ) -> Float[Tensor, "members images rank positions width"]:
        """``T N(x_p)`` for each position ``p``: the normalised input, projected along its frames."""

    def update_time(
        self,
        u: Float[Tensor, "members rank frames"],
        v: Float[Tensor, "members images rank positions width"],
    ) -> None:
        """``x_p += u^T v_p`` for each position, for this layer and all later ones."""
