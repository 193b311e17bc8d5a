"""The training loss: cross-entropy, one value for each member."""

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
    """Cross-entropy over one or more label columns, whose scores are concatenated on the classes axis.

    The loss of a column is the mean over the images of the batch that have a label in it, each multiplied by
    the weight of its class. The losses of all columns are added.

    With label smoothing, torch's ``cross_entropy`` multiplies each term of the smoothed target by the weight
    of that term's class, so that rare classes weigh most in the loss of every image. Here the weight of an
    image is that of its own class: balanced classes count the same with any smoothing.
    """

    classes: tuple[int, ...]
    """Number of classes of each column."""
    class_weights: tuple[Float[Tensor, "_"], ...]
    """Weight of each class, ``(classes,)`` for each column, float64; ones if classes are not balanced."""

    def split(self, scores: Float[Tensor, "members images classes"]) -> tuple[Tensor, ...]:
        """The scores of each column, ``(members, images, classes of the column)``."""
        columns: tuple[Tensor, ...] = scores.split(self.classes, dim=-1)
        return columns

    def weights(self, labels: Int64[Tensor, "images columns"]) -> Float[Tensor, "images columns"]:
        """Weight of each label in the loss of these images, float64.

        It is the weight of the class, divided by the number of these images that have a label in the column.
        If it were divided by the sum of weights instead, batches without a rare class would count as much as
        those with it, and the rare class too little.
        """
        weights = torch.stack(
            [
                class_weights[column.clamp(min=0)].masked_fill(column == MISSING_LABEL, 0.0)
                for column, class_weights in zip(labels.T, self.class_weights, strict=True)
            ],
            dim=1,
        )
        return weights / (labels != MISSING_LABEL).sum(dim=0).clamp(min=1)

    def losses(
        self,
        scores: Float[Tensor, "members images classes"],
        labels: Int64[Tensor, "images columns"],
        weights: Float[Tensor, "images columns"],
        smoothing: Float[Tensor, "members"],
    ) -> Float[Tensor, "members"]:
        """The loss of each member; the losses of micro-batches add up to the loss of their batch.

        Args:
            scores: scores of the images.
            labels: labels of the images, `MISSING_LABEL` where there is none.
            weights: weights of the labels, computed by `weights` for the whole batch.
            smoothing: label smoothing of each member, the fraction of the target spread over all classes.
        """
        total = scores.new_zeros(scores.shape[0])
        for column_scores, column, weight in zip(self.split(scores), labels.T, weights.T, strict=True):
            log_probabilities = functional.log_softmax(column_scores, dim=-1)
            index = column.clamp(min=0)[None, :, None].expand(len(column_scores), -1, 1)
            target = -log_probabilities.gather(-1, index)[..., 0]
            uniform = -log_probabilities.mean(dim=-1)
            each = torch.lerp(target, uniform, smoothing[:, None].to(target.dtype))
            total = total + each @ weight.to(each.dtype)
        return total


def make_objective(
    classes: Sequence[int], labels: Int64[np.ndarray, "images columns"], *, balanced: bool, device: str
) -> Objective:
    """The objective of a training split.

    Args:
        classes: number of classes of each column.
        labels: labels of the training images.
        balanced: weight each class by ``1 / number of its images``, scaled so that the mean over images is
            one over the whole split. Classes without images have weight zero.
        device: the compute device.
    """
    weights = []
    for column, count in zip(labels.T, classes, strict=True):
        found = np.bincount(column[column != MISSING_LABEL], minlength=count)
        balancing = found.sum() / np.maximum(found, 1) / max(1, np.count_nonzero(found))
        chosen = np.where(found > 0, balancing, 0.0) if balanced else np.ones(count)
        weights.append(torch.tensor(chosen, dtype=torch.float64, device=device))
    return Objective(classes=tuple(classes), class_weights=tuple(weights))
