"""The frozen side of a stream: what its layers start from, computed once for all members of a pass."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from losa.adapt.architecture import Norm
from losa.adapt.streams.contract import NORM_EPS, StreamCourse


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen features that one layer starts from, as its products take them."""

    normalised: Float[Tensor, "images tokens width"]
    """``base_i`` under the frozen norm: centred and scaled, or as it is. In the dtype of the products."""
    scale: Float[Tensor, "images tokens"] | None
    """What the norm multiplies updates with: one over the standard deviation of ``base_i``; None for 1."""


class FrozenFeatures:
    """Decoded activations of some images, and the bases made from them.

    Side networks of one pass share them: bases of one course are computed once, whoever asks.
    """

    def __init__(
        self,
        activations: Float[Tensor, "images sites tokens width"],
        dtype: torch.dtype = torch.float32,
        sites: Sequence[str] | None = None,
    ) -> None:
        """Wrap decoded activations.

        Args:
            activations: decoded.
            dtype: of the products.
            sites: names along the sites axis; None where they are just those that a network reads.
        """
        self.activations = activations
        self.dtype = dtype
        self.sites = None if sites is None else tuple(sites)
        self._bases: dict[tuple[StreamCourse, Norm], list[Base]] = {}

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.activations)

    def renumbered(self, course: StreamCourse, sites: Sequence[str]) -> StreamCourse:
        """A course whose numbers count the named sites, in numbers that count the sites here."""
        if self.sites is None:
            return course
        places = [self.sites.index(site) for site in sites]
        return StreamCourse(
            layers=tuple(tuple(places[site] for site in layer) for layer in course.layers),
            output=places[course.output],
        )

    def bases(self, course: StreamCourse, norm: Norm) -> list[Base]:
        """The bases of a course, one for each layer."""
        if (course, norm) not in self._bases:
            self._bases[course, norm] = [self._normalise(base, norm) for base in self.sums(course)]
        return self._bases[course, norm]

    def sums(self, course: StreamCourse) -> Iterator[Float[Tensor, "images tokens width"]]:
        """``base_i`` of every layer, one after the other: all at once would be as much as the activations."""
        total: Tensor | None = None
        summed: Counter[int] = Counter()
        for layer in course.layers:
            wanted = Counter(layer)
            # A base that grows from layer to layer is carried on, not summed anew.
            grows = total is not None and summed <= wanted
            terms = [self.activations[:, site] for site in (wanted - summed if grows else wanted).elements()]
            if total is None or not grows:
                total = terms.pop(0)
            for term in terms:
                total = total + term
            yield total
            summed = wanted

    def _normalise(self, base: Float[Tensor, "images tokens width"], norm: Norm) -> Base:
        if norm == "none":
            return Base(base.to(self.dtype), None)
        normalised, _, scale = torch.native_layer_norm(base, base.shape[-1:], None, None, NORM_EPS)
        return Base(normalised.to(self.dtype), scale[..., 0].to(self.dtype))


def layer_norm(x: Float[Tensor, "*lead width"]) -> Float[Tensor, "*lead width"]:
    """Without weight and bias."""
    return functional.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
