"""Labelled images together with where their activations come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from losa.adapt.data.activations import ActivationSource, Batch, read_ahead
from losa.adapt.data.labelled_images import LabelledImages


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledActivations:
    """Labelled images to train on or to score, and the source of their activations."""

    source: ActivationSource
    """Reads images by their positions in the split."""
    images: LabelledImages
    """Positions in the split of the images that are used, and their labels."""
    sites: tuple[str, ...]
    """Names along the sites axis of the source's activations."""
    name: str = "the data"
    """Name in error messages."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def with_drawn_views(self, data_seed: int, epoch: int) -> "LabelledActivations":
        """The images, each in the view that an epoch shows.

        Args:
            data_seed: seed of the draw.
            epoch: number of the epoch, from 0.
        """
        return replace(self, images=self.images.with_drawn_views(data_seed, epoch))

    def read(self, batches: Sequence[Int64[np.ndarray, "_"]]) -> Iterator[Batch]:
        """Batches of images, read ahead of the consumer.

        Args:
            batches: for each batch the rows in `images`, int64 ``(images,)``.

        Raises:
            LosaError: the images cannot be read.
        """
        return read_ahead(self.source, [self.images.positions[rows] for rows in batches])
