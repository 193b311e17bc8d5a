"""A split as a map-style data set for PyTorch's ``DataLoader``. It needs no torch itself."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.reader import Split

Item = tuple[Float32[np.ndarray, "sites tokens width"], int]


class LabelledSplit:
    """Activations and label of each image of a split, without images that are invalid or have no label.

    Attributes:
        positions: positions of the images in the split, int64 ``(images,)``.
        labels: their labels, int64 ``(images,)``.
    """

    def __init__(self, split: Split, label: str) -> None:
        """Read the labels, but no activations yet.

        Args:
            split: the split, opened with the sites that are wanted.
            label: name of the label column.

        Raises:
            CacheError: there is no such column.
            CorruptCache: labels are damaged.
        """
        self.split = split
        labels = split.labels(label)
        self.positions = np.flatnonzero(split.valid & (labels != MISSING_LABEL))
        self.labels = labels[self.positions]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    def __getitem__(self, index: int) -> Item:
        """Activations, float32 ``(sites, tokens, width)``, and label of one image.

        Args:
            index: number of the image among those that are valid and have a label, from 0.

        Raises:
            IndexError: there is no such image.
            CacheError: a file cannot be read, or is damaged.
        """
        return self.split[int(self.positions[index])], int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """The items of a batch, read at once; ``DataLoader`` calls it where it exists.

        Args:
            indices: numbers of images, as for a single item.

        Returns:
            Activations and label of each image, in this order.

        Raises:
            IndexError: there is no such image.
            CacheError: a file cannot be read, or is damaged.
        """
        activations = self.split[self.positions[indices]]
        return list(zip(activations, self.labels[indices].tolist(), strict=True))
