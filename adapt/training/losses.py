"""What members are trained to make small: cross-entropy, one value for each member."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from losa.cache_format.metadata.labels import MISSING_LABEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Cross-entropy over one or more label columns, whose scores stand side by side.

    For each column it is the weighted mean over the batch's images that have a label there; columns add up.
    """

    classes: tuple[int, ...]
    """Number of classes of each column."""
    class_weights: tuple[Float[Tensor, "_"], ...]
    """Of each column; ones where classes count alike."""

    def split(self, scores: Float[Tensor, "members images classes"]) -> tuple[Tensor, ...]:
        """Scores of each column."""
        parts: tuple[Tensor, ...] = scores.split(self.classes, dim=-1)
        return parts

    def weights(self, labels: Int64[Tensor, "images columns"]) -> Float[Tensor, "images columns"]:
        """What every label counts in the mean over these images, which add up to one in every column."""
        weights = torch.stack(
            [
                torch.where(column == MISSING_LABEL, 0, of_class[column.clamp(min=0)])
                for column, of_class in zip(labels.T, self.class_weights, strict=True)
            ],
            dim=1,
        )
        return weights / weights.sum(dim=0).clamp(min=torch.finfo(weights.dtype).tiny)

    def losses(
        self,
        scores: Float[Tensor, "members images classes"],
        labels: Int64[Tensor, "images columns"],
        weights: Float[Tensor, "images columns"],
        smoothing: Float[Tensor, "members"],
    ) -> Float[Tensor, "members"]:
        """Of each member; parts of a batch add up to the batch's.

        Args:
            scores: of the images.
            labels: of the images, `MISSING_LABEL` where there is none.
            weights: of the labels, from `weights` of the whole batch.
            smoothing: part of the target that is spread over all classes.
        """
        total = scores.new_zeros(scores.shape[0])
        for part, of_column, weight in zip(self.split(scores), labels.T, weights.T, strict=True):
            log_probabilities = functional.log_softmax(part, dim=-1)
            index = of_column.clamp(min=0)[None, :, None].expand(len(part), -1, 1)
            right = -log_probabilities.gather(-1, index)[..., 0]
            spread = -log_probabilities.mean(dim=-1)
            each = torch.lerp(right, spread, smoothing[:, None].to(right.dtype))
            total = total + each @ weight.to(each.dtype)
        return total


def make_objective(
    classes: Sequence[int], labels: Int64[np.ndarray, "images columns"], *, balanced: bool, device: str
) -> Objective:
    """The objective of a training split.

    Args:
        classes: number of classes of each column.
        labels: of the training images.
        balanced: every class counts the same, however many images it has: ``1 / number of its images``,
            scaled so that the mean over images is one. Classes without an image count nothing.
        device: where scores are.
    """
    weights = []
    for column, count in zip(labels.T, classes, strict=True):
        found = np.bincount(column[column != MISSING_LABEL], minlength=count)
        even = found.sum() / np.maximum(found, 1) / max(1, np.count_nonzero(found))
        chosen = np.where(found > 0, even, 0.0) if balanced else np.ones(count)
        weights.append(torch.tensor(chosen, dtype=torch.float32, device=device))
    return Objective(classes=tuple(classes), class_weights=tuple(weights))
