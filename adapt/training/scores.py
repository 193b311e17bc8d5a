"""How well members classify a split: accuracies and the confusion, gathered batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from losa.adapt.training.confusion import Confusion, ConfusionCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one member in one label column, as fractions."""

    confusion: Confusion
    """Number of images by true and predicted class."""
    top5_correct: int
    """Number of images whose class is among the five highest scores (all, where there are fewer classes)."""

    @property
    def images(self) -> int:
        """Number of images that have a label."""
        return self.confusion.images

    @property
    def accuracy(self) -> float:
        """Fraction of images whose class has the highest score."""
        return self.confusion.correct / self.images

    @property
    def top5_accuracy(self) -> float:
        """Fraction of images whose class is among the five highest scores."""
        return self.top5_correct / self.images

    @property
    def mean_per_class(self) -> float:
        """Accuracy of each class, averaged over the classes that have images."""
        return self.confusion.mean_per_class


class ScoreKeeper:
    """Counts correct predictions of members over the batches of a split."""

    def __init__(self, members: int, classes: Sequence[int], device: str) -> None:
        """Start with empty counts.

        Args:
            members: number of members.
            classes: number of classes of each label column.
            device: the compute device.
        """
        self._classes = tuple(classes)
        self._confusion = [ConfusionCounter(members, count, device) for count in classes]
        self._top5 = torch.zeros(members, len(classes), dtype=torch.int64, device=device)
        self._finite = torch.ones(members, dtype=torch.bool, device=device)

    def add(self, scores: Sequence[Tensor], labels: Int64[Tensor, "images columns"]) -> None:
        """Count a batch.

        Args:
            scores: class scores ``(members, images, classes)`` for each column.
            labels: labels of the images, `MISSING_LABEL` where there is none.
        """
        for number, (found, column, count) in enumerate(zip(scores, labels.T, self._classes, strict=True)):
            self._finite &= found.isfinite().all(dim=-1).all(dim=-1)
            self._confusion[number].add(column, found.argmax(dim=-1))
            best = found.topk(min(5, count), dim=-1).indices
            # No class is equal to a missing label.
            self._top5[:, number] += (best == column[:, None]).any(dim=-1).sum(dim=-1)

    def result(self) -> list[list[Scores] | None]:
        """For each member the scores of every column, or None if its class scores were NaN or infinite."""
        confusion = [counter.result() for counter in self._confusion]
        top5, finite = self._top5.cpu().numpy(), self._finite.cpu().numpy()
        return [
            [
                Scores(confusion=found[member], top5_correct=int(top5[member, column]))
                for column, found in enumerate(confusion)
            ]
            if finite[member]
            else None
            for member in range(len(finite))
        ]


def mean_accuracy(scores: Sequence[Scores]) -> float:
    """Mean accuracy over label columns."""
    return float(np.mean([column.accuracy for column in scores]))
