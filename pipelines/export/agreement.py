"""Compares the class scores of an exported file with those of the classifier that it was made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from losa.cache_format import LosaError
from losa.extract.forward_pass import in_batches
from losa.extract.sources import InvalidImage
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export.graph import ClassifierGraph, Images, drawn_images
from losa.pipelines.export.model_format import Run

BATCH_SIZES = (1, 8)
"""Images at once; the file has to give the same scores for both."""
TOLERANCE = 1e-4
"""Largest difference of a class score, as a fraction of the spread of all scores of its output.

Rounding in float32 alone makes differences of 1e-7 to 3e-6 of the spread. Within the tolerance a prediction
can be another one only where two classes are closer to each other than twice the tolerance.
"""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a file agrees with its classifier."""

    images: int
    """Number of images, not counting the drawn ones."""
    same_class: float
    """Fraction of predictions with the same class, over all outputs, batch sizes and images, drawn or not."""
    largest_difference: float
    """Of a class score, as a fraction of the spread of the scores of its output."""


def compare(graph: ClassifierGraph, run: Run, files: Sequence[str]) -> Agreement:
    """Run a file on eight drawn images and on given ones, one by one and eight at once.

    Args:
        graph: what the file was made of.
        run: runs the file.
        files: paths of images.

    Raises:
        InvalidImage: an image cannot be read.
        LosaError: the scores of an output differ by more than `TOLERANCE` of their spread.
    """
    expected: dict[str, list[Tensor]] = {output.name: [] for output in graph.outputs}
    found: dict[str, list[Tensor]] = {name: [] for name in expected}
    for images in _batches(graph.classifier, files):
        whole = graph(images)
        for size in BATCH_SIZES:
            parts = [run(part) for part in images.split(size)]
            for name in expected:
                expected[name].append(whole[name])
                found[name].append(torch.cat([part[name] for part in parts]))
    compared = {name: _compared(torch.cat(expected[name]), torch.cat(found[name])) for name in expected}
    for name, (difference, _) in compared.items():
        if not difference <= TOLERANCE:  # so that what is not a number is refused, too
            raise LosaError(
                f"the class scores of {name} in the file are not those of the classifier: they differ by "
                f"up to {difference:.1e} of their spread, expected at most {TOLERANCE:.0e}"
            )
    return Agreement(
        images=len(files),
        same_class=sum(same for _, same in compared.values()) / len(compared),
        largest_difference=max(difference for difference, _ in compared.values()),
    )


def _batches(classifier: Classifier, files: Sequence[str]) -> Iterator[Images]:
    most = max(BATCH_SIZES)
    yield drawn_images(classifier.networks.preprocessing, most)
    for batch in in_batches(files, most):
        yield torch.stack([_input(classifier, file) for file in batch])


def _input(classifier: Classifier, file: str) -> Tensor:
    try:
        return classifier.preprocess(Path(file))
    except InvalidImage as error:
        raise InvalidImage(f"{file}: {error}; leave it out of images=[...]") from None


def _compared(expected: Tensor, found: Tensor) -> tuple[float, float]:
    """Largest difference in spreads, and fraction of images of the same class."""
    spread = (expected.max() - expected.min()).item() or 1.0  # of a single class, all scores may be equal
    difference = (found - expected).abs().max().item() / spread
    return difference, (found.argmax(dim=-1) == expected.argmax(dim=-1)).double().mean().item()
