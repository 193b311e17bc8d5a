"""Confusion matrices of many classes: only pairs of classes that occur are kept."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from losa.cache_format.metadata.labels import MISSING_LABEL

MERGED_AT_ONCE = 2**18
"""Number of predictions that are kept before they are merged into the counts."""
PAIR_BYTES = 96
"""Bytes for each pair while counts are merged. `torch.unique` sorts, and holds a dozen numbers for each."""

_NO_CELL = -1
"""Stands for the cell of an image without a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """The cells of one member's confusion matrix that are not zero, in the order of its rows."""

    true: Int64[np.ndarray, "pairs"]
    """True class of each pair."""
    predicted: Int64[np.ndarray, "pairs"]
    """Predicted class of each pair."""
    counts: Int64[np.ndarray, "pairs"]
    """Number of images of each pair."""

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.counts.sum())

    @property
    def correct(self) -> int:
        """Number of images whose true class is predicted."""
        return int(self.counts[self.true == self.predicted].sum())

    @property
    def mean_per_class(self) -> float:
        """Accuracy of each class, averaged over the classes that have images."""
        classes, places = np.unique(self.true, return_inverse=True)
        found, correct = np.zeros((2, len(classes)), np.int64)
        right = self.true == self.predicted
        np.add.at(found, places, self.counts)
        np.add.at(correct, places[right], self.counts[right])
        return float((correct / found).mean())

    def to_json(self) -> list[list[int]]:
        """``[true, predicted, images]`` for each pair."""
        pairs: list[list[int]] = np.stack([self.true, self.predicted, self.counts], axis=1).tolist()
        return pairs


class ConfusionCounter:
    """Counts pairs of true and predicted classes, of all members together, on the compute device."""

    def __init__(self, members: int, classes: int, device: str) -> None:
        """Start with no pairs.

        Args:
            members: number of members.
            classes: number of classes.
            device: the compute device.
        """
        self._members, self._classes = members, classes
        self._offsets = torch.arange(members, device=device)[:, None] * classes
        # A cell is a number made of member, true class and predicted class.
        self._cells = torch.zeros(0, dtype=torch.int64, device=device)
        self._counts = torch.zeros_like(self._cells)
        self._waiting: list[Tensor] = []

    def add(self, true: Int64[Tensor, "images"], predicted: Int64[Tensor, "members images"]) -> None:
        """Count the images of a batch that have a label.

        Args:
            true: labels of the images, `MISSING_LABEL` where there is none.
            predicted: predicted class of every image.
        """
        cells = (self._offsets + true) * self._classes + predicted
        # Not left out at once: their number would have to be read from the device.
        self._waiting.append(cells.masked_fill_(true == MISSING_LABEL, _NO_CELL).flatten())
        if sum(map(len, self._waiting)) > max(MERGED_AT_ONCE, len(self._cells)):
            self._merge()

    def state(self) -> dict[str, Tensor]:
        """All counts so far, for `load_state` of a counter of the same members and classes."""
        self._merge()
        return {"cells": self._cells, "counts": self._counts}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the counts of another counter."""
        self._cells, self._counts = (state[name].to(self._offsets.device) for name in ("cells", "counts"))

    def result(self) -> list[Confusion]:
        """The confusion of each member."""
        self._merge()
        cells, counts = self._cells.cpu().numpy(), self._counts.cpu().numpy()
        first = np.arange(self._members + 1) * self._classes**2
        starts = np.searchsorted(cells, first)
        found = []
        for member in range(self._members):
            mine = slice(starts[member], starts[member + 1])
            true, predicted = np.divmod(cells[mine] - first[member], self._classes)
            found.append(Confusion(true=true, predicted=predicted, counts=counts[mine]))
        return found

    def _merge(self) -> None:
        cells = torch.cat([self._cells, *self._waiting])
        counts = torch.cat([self._counts, self._counts.new_ones(len(cells) - len(self._cells))])
        found, places = torch.unique(cells, return_inverse=True)
        summed = torch.zeros_like(found).index_add_(0, places, counts)
        self._cells, self._counts = found[found != _NO_CELL], summed[found != _NO_CELL]
        self._waiting = []


def counting_bytes(images: int, classes: int) -> int:
    """The most bytes that counting takes for one member.

    Args:
        images: number of images.
        classes: number of classes.
    """
    return PAIR_BYTES * min(images, classes**2)
