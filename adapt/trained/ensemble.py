"""Several side networks as one classifier, the average of which is better than most of them alone."""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.trained.side_network import TrainedSideNetwork, split_columns
from losa.adapt.trained.stacked import StackedSideNetworks, first_difference
from losa.cache_format import LosaError
from losa.cache_format.common.comparison import listed

ENSEMBLE = "ensemble"
"""Name of an ensemble among side networks."""
_TOLD = 5
"""The most differences that a message lists."""


class Ensemble(StackedSideNetworks):
    """Side networks of one backbone that are averaged: all members of the ensemble share one forward pass.

    The scores of the ensemble are logarithms of probabilities, the mean over its members. A softmax gives the
    mean probabilities.
    """

    def __init__(self, trained: Mapping[str, TrainedSideNetwork], *, with_members: bool = False) -> None:
        """Join networks, of any kinds and shapes.

        Args:
            trained: name -> member of the ensemble.
            with_members: whether the members are kept as side networks of their own, before the ensemble.

        Raises:
            LosaError: there are fewer than two, two are the same, they were trained on different backbones or
                inputs, or they have other label columns or classes; or one is called as the ensemble is, and
                they are kept beside it.
        """
        super().__init__(trained)
        _refuse_single(self.names)
        _refuse_copies(trained)
        _refuse_other_columns(trained)
        if with_members and ENSEMBLE in trained:
            raise LosaError(f"a side network is called {ENSEMBLE} already: rename its folder")
        self._with_members = with_members
        kept = len(trained) if with_members else 0
        self.names = (*self.names[:kept], ENSEMBLE)
        self.members = (*self.members[:kept], tuple(trained))
        self.columns = (*self.columns[:kept], self.columns[0])

    @property
    def title(self) -> str:
        """What it is, for messages: "ensemble of 2 side networks"."""
        return f"{ENSEMBLE} of {len(self.members[-1])} side networks"

    def forward(
        self,
        activations: Float[Tensor, "images sites tokens width"],
        sites: Sequence[str] | None = None,
    ) -> tuple[Float[Tensor, "images _"], ...]:
        """See `StackedSideNetworks`; the scores of the ensemble come last, and alone without its members."""
        scores = super().forward(activations, sites)
        of_columns = zip(*(split_columns(each, self.columns[-1]) for each in scores), strict=True)
        ensemble = torch.cat([_mean_log_probabilities(torch.stack(each)) for each in of_columns], dim=-1)
        return (*scores, ensemble) if self._with_members else (ensemble,)


def _mean_log_probabilities(
    scores: Float[Tensor, "members images classes"],
) -> Float[Tensor, "images classes"]:
    return scores.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(scores))


def _refuse_single(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise LosaError(f"an ensemble needs at least two side networks; found only {names[0]}")


def _refuse_copies(trained: Mapping[str, TrainedSideNetwork]) -> None:
    names: dict[str, str] = {}
    for name, each in trained.items():
        first = names.setdefault(each.tensors_sha256, name)
        if first != name:
            raise LosaError(f"an ensemble has each side network once; {first} and {name} are the same")


def _refuse_other_columns(trained: Mapping[str, TrainedSideNetwork]) -> None:
    if (found := first_difference(trained, _classes)) is not None:
        first, other, different = found
        told = listed(different[:_TOLD])
        more = len(different) - _TOLD
        raise LosaError(
            "an ensemble is an average over the same label columns and classes, in the same order; "
            f"{first} and {other} differ in\n{told}" + (f"\n  and {more} more" if more > 0 else "")
        )


def _classes(trained: TrainedSideNetwork) -> dict[str, str]:
    """All label columns and their classes in order, so that two records differ where a name does."""
    facts: dict[str, str] = {}
    for place, column in enumerate(trained.columns, 1):
        facts[f"label column {place}"] = column.name
        names = range(column.num_classes) if column.classes is None else column.classes
        facts |= {f"{column.name}, class {number}": str(name) for number, name in enumerate(names)}
    return facts
