"""The frozen part of a stream: the features that its layers start from, computed once for all members."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Norm
from losa.adapt.kernels import computes_normalised_sums, normalised_sum
from losa.adapt.streams.contract import NORM_EPS, StreamSites
from losa.cache_format.errors import LosaError


@dataclass(frozen=True, slots=True)
class NormalisedBase:
    """``base_i`` of one layer in the form that the products of `Factored` need."""

    normalised: Float[Tensor, "images tokens width"]
    """``base_i`` in the dtype of the products; centred and scaled if the norm is ``frozen``."""
    scale: Float[Tensor, "images tokens"] | None
    """Factor by which the norm multiplies updates, ``1 / sqrt(variance of base_i + eps)``; None for 1."""


@dataclass(slots=True)
class PartialSum:
    """``base_i`` of one layer, whose last addition is left to what reads it."""

    first: Float[Tensor, "images tokens width"]
    second: Float[Tensor, "images tokens width"] | None
    """What is still to be added."""
    continued: bool
    """Whether the sum of the next layer begins with this one."""

    def total(self) -> Float[Tensor, "images tokens width"]:
        """``base_i``, which is then kept."""
        if self.second is not None:
            self.first, self.second = self.first + self.second, None
        return self.first


class FrozenFeatures:
    """Decoded activations of some images, and the bases computed from them.

    All side networks of a pass share one object: each base is computed once.

    Attributes:
        activations: the decoded activations.
        dtype: dtype in which products are computed.
        sites: names along the sites axis; None if they are exactly the sites of the side network.
    """

    def __init__(
        self,
        activations: Float[Tensor, "images sites tokens width"],
        dtype: torch.dtype = torch.float32,
        sites: Sequence[str] | None = None,
    ) -> None:
        """Wrap decoded activations.

        Args:
            activations: the decoded activations.
            dtype: dtype in which products are computed.
            sites: names along the sites axis; None if they are exactly the sites of the side network.

        Raises:
            LosaError: the activations require gradients, which do not go through a side network.
        """
        if activations.requires_grad:
            raise LosaError(
                "activations that require gradients: the gradients of a side network end at its inputs; "
                "use activations.detach()"
            )
        self.activations = activations
        self.dtype = dtype
        self.sites = None if sites is None else tuple(sites)
        self._bases: dict[tuple[StreamSites, Norm], list[NormalisedBase]] = {}

    @property
    def images(self) -> int:
        """Number of images."""
        return self.activations.shape[0]

    def output(self, site: int) -> Float[Tensor, "images tokens width"]:
        """The activations of a site.

        Args:
            site: its position on the sites axis.
        """
        return self.activations[:, site]

    def renumbered(self, sites: StreamSites, names: Sequence[str]) -> StreamSites:
        """Replace numbers that index ``names`` by numbers that index the sites axis of the activations.

        Args:
            sites: the numbers.
            names: names of the sites that a side network reads.

        Raises:
            ValueError: the activations lack a site.
        """
        if self.sites is None:
            return sites
        numbers = [self.sites.index(name) for name in names]
        return StreamSites(
            layers=tuple(tuple(numbers[site] for site in layer) for layer in sites.layers),
            output=numbers[sites.output],
        )

    def bases(self, sites: StreamSites, norm: Norm) -> list[NormalisedBase]:
        """The normalised base of each layer, computed when it is asked for first.

        Args:
            sites: the sites that each layer starts from, as positions on the sites axis.
            norm: ``frozen`` or ``none``.
        """
        if (sites, norm) not in self._bases:
            self._bases[sites, norm] = [self._normalise(base, norm) for base in self._partial_sums(sites)]
        return self._bases[sites, norm]

    def sums(self, sites: StreamSites) -> Iterator[Float[Tensor, "images tokens width"]]:
        """Yield ``base_i`` of each layer in turn; together they would be as large as the activations.

        Args:
            sites: the sites that each layer starts from, as positions on the sites axis.
        """
        for base in self._partial_sums(sites):
            yield base.total()

    def _partial_sums(self, sites: StreamSites) -> Iterator[PartialSum]:
        before: PartialSum | None = None
        summed: Counter[int] = Counter()
        for wanted, following in pairwise([*map(Counter, sites.layers), Counter()]):
            # A sum that only gains terms from one layer to the next is continued, not computed again.
            new = wanted if before is None or not before.continued else wanted - summed
            terms = [self.activations[:, site] for site in new.elements()]
            if before is not None and before.continued:
                terms.insert(0, before.total())
            *earlier, last = terms
            first = earlier[0] if earlier else last
            for term in earlier[1:]:
                first = first + term
            before = PartialSum(first, last if earlier else None, continued=wanted <= following)
            yield before
            summed = wanted

    def _normalise(self, base: PartialSum, norm: Norm) -> NormalisedBase:
        if norm == "none":
            # Products flatten images and tokens, which would copy a part of the activations each time.
            return NormalisedBase(base.total().to(self.dtype).contiguous(), None)
        if computes_normalised_sums(base.first, base.second):
            normalised, scale, total = normalised_sum(
                base.first, base.second, NORM_EPS, keeps_sum=base.continued
            )
            if total is not None:
                base.first, base.second = total, None
        else:
            x = base.total()
            normalised, _, scale = torch.native_layer_norm(x, x.shape[-1:], None, None, NORM_EPS)
            scale = scale[..., 0]
        return NormalisedBase(normalised.to(self.dtype), scale.to(self.dtype))


def layer_norm(x: Float[Tensor, "*lead width"]) -> Float[Tensor, "*lead width"]:
    """LayerNorm over the width, without weight and bias."""
    return functional.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
