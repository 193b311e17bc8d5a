"""Sums over images from which follows how well side networks predict one label column."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from losa.adapt.training.confusion import Confusion, ConfusionCounter
from losa.cache_format.metadata.labels import MISSING_LABEL

BINS = 15
"""Bins of equal width of the calibration error, as in Guo et al. (2017)."""
_TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How well a side network predicts a label column; accuracies are fractions.

    They are None if no image has a label in the column, or if class scores are NaN or infinite.
    """

    top1: float | None = None
    top5: float | None = None
    """Fraction of images whose class is among the five likeliest (all, where there are fewer classes)."""
    mean_per_class: float | None = None
    """Top-1 accuracy of each class, averaged over the classes that have images."""
    calibration_error: float | None = None
    """Expected calibration error: mean difference of confidence and accuracy over 15 bins of equal width,
    weighted by their images (Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599)."""
    nll: float | None = None
    """Negative log-likelihood of the labels, in nats, averaged over images."""
    confusion: Confusion

    @property
    def images(self) -> int:
        """Number of images that have a label."""
        return self.confusion.images


class Tally:
    """Sums for several side networks with the same number of classes, on the compute device."""

    def __init__(self, members: int, classes: int, device: str) -> None:
        """Start with no image.

        Args:
            members: number of side networks.
            classes: number of classes.
            device: the compute device.
        """
        self._confusion = ConfusionCounter(members, classes, device)
        self._sums = {
            "top5": torch.zeros(members, dtype=torch.int64, device=device),
            "nll": torch.zeros(members, dtype=torch.float64, device=device),
            "bin_images": torch.zeros(members, BINS, dtype=torch.float64, device=device),
            "bin_correct": torch.zeros(members, BINS, dtype=torch.float64, device=device),
            "bin_confidence": torch.zeros(members, BINS, dtype=torch.float64, device=device),
            "not_finite": torch.zeros(members, dtype=torch.int64, device=device),
        }

    def add(
        self, log_probabilities: Float64[Tensor, "members images classes"], labels: Int64[Tensor, "images"]
    ) -> None:
        """Count the images of a batch that have a label.

        Args:
            log_probabilities: logarithm of each class's probability.
            labels: labels of the images, -1 where there is none.
        """
        known = labels != MISSING_LABEL
        found, true = log_probabilities[:, known], labels[known]
        if not len(true):
            return
        best = found.topk(min(_TOP, found.shape[-1]), dim=-1)
        predicted = found.argmax(dim=-1)  # as training does, where classes have equal scores
        confidence = best.values[..., 0].exp()
        # Bin m holds confidences above (m - 1) / bins, up to m / bins.
        bins = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        sums = self._sums
        self._confusion.add(true, predicted)
        sums["top5"] += (best.indices == true[:, None]).any(dim=-1).sum(dim=-1)
        sums["nll"] -= found[:, torch.arange(len(true), device=true.device), true].sum(dim=-1)
        sums["bin_images"].scatter_add_(1, bins, torch.ones_like(confidence))
        sums["bin_correct"].scatter_add_(1, bins, (predicted == true).double())
        sums["bin_confidence"].scatter_add_(1, bins, confidence)
        sums["not_finite"] += confidence.isnan().sum(dim=-1)

    def state(self) -> dict[str, Tensor]:
        """All sums so far, for `load_state` of a tally of the same members and classes."""
        return self._sums | self._confusion.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the sums of another tally."""
        self._confusion.load_state(state)
        for name, value in self._sums.items():
            value.copy_(state[name])

    def result(self) -> list[Figures]:
        """The figures of each side network."""
        sums = {name: value.cpu().numpy() for name, value in self._sums.items()}
        return [
            _figures(confusion, {name: value[member] for name, value in sums.items()})
            for member, confusion in enumerate(self._confusion.result())
        ]


def _figures(confusion: Confusion, sums: Mapping[str, np.ndarray]) -> Figures:
    images = confusion.images
    if not images or sums["not_finite"]:
        return Figures(confusion=confusion)
    return Figures(
        top1=confusion.correct / images,
        top5=int(sums["top5"]) / images,
        mean_per_class=confusion.mean_per_class,
        calibration_error=float(np.abs(sums["bin_correct"] - sums["bin_confidence"]).sum() / images),
        nll=float(sums["nll"] / images),
        confusion=confusion,
    )
