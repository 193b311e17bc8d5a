"""How well members classify a split: accuracies and the confusion matrix, gathered batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from losa.cache_format.metadata.labels import MISSING_LABEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of one member in one label column. Fractions, not percent."""

    confusion: Int64[np.ndarray, "classes classes"]
    """Images by true class (row) and predicted class (column)."""
    top5_correct: int
    """Images whose class is among the five highest scores, or fewer where there are fewer classes."""

    @property
    def images(self) -> int:
        """Images that have a label."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Images whose class has the highest score."""
        return float(np.trace(self.confusion) / self.images)

    @property
    def top5_accuracy(self) -> float:
        """See ``top5_correct``."""
        return self.top5_correct / self.images

    @property
    def mean_per_class(self) -> float:
        """Accuracy of each class, averaged over the classes that have images."""
        found = self.confusion.sum(axis=1)
        present = found > 0
        return float((np.diag(self.confusion)[present] / found[present]).mean())


class ScoreKeeper:
    """Gathers the scores of members over a split."""

    def __init__(self, members: int, classes: Sequence[int], device: str) -> None:
        self._classes = tuple(classes)
        self._confusion = [
            torch.zeros(members, count * count, dtype=torch.int64, device=device) for count in classes
        ]
        self._top5 = torch.zeros(members, len(classes), dtype=torch.int64, device=device)
        self._finite = torch.ones(members, dtype=torch.bool, device=device)

    def add(self, scores: Sequence[Tensor], labels: Int64[Tensor, "images columns"]) -> None:
        """Count a batch.

        Args:
            scores: ``(members, images, classes)`` of each column.
            labels: of the images.
        """
        for number, (part, column, count) in enumerate(zip(scores, labels.T, self._classes, strict=True)):
            self._finite &= part.isfinite().all(dim=-1).all(dim=-1)
            known = column != MISSING_LABEL
            part, true = part[:, known], column[known]
            cells = true * count + part.argmax(dim=-1)
            self._confusion[number].scatter_add_(1, cells, torch.ones_like(cells))
            best = part.topk(min(5, count), dim=-1).indices
            self._top5[:, number] += (best == true[:, None]).any(dim=-1).sum(dim=-1)

    def result(self) -> list[list[Scores] | None]:
        """Of each member the scores of every column; None for one whose scores were NaN or infinite."""
        confusion = [
            cells.view(-1, count, count).cpu().numpy()
            for cells, count in zip(self._confusion, self._classes, strict=True)
        ]
        top5, finite = self._top5.cpu().numpy(), self._finite.cpu().numpy()
        return [
            [
                Scores(confusion=cells[member], top5_correct=int(top5[member, column]))
                for column, cells in enumerate(confusion)
            ]
            if finite[member]
            else None
            for member in range(len(finite))
        ]


def mean_accuracy(scores: Sequence[Scores]) -> float:
    """Over label columns."""
    return float(np.mean([column.accuracy for column in scores]))
