"""Which images of a split, or of several, are used, and their labels."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from losa.adapt.data.order import draw_views
from losa.adapt.data.split_union import open_union, other_views
from losa.cache_format import Cache, LosaError
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.views import parse_key


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Positions of images in their split, and labels."""

    positions: Int64[np.ndarray, "images"]
    """Position of each image in its split, or in the union of several, from 0."""
    labels: Int64[np.ndarray, "images columns"]
    """Label of each image in each label column, from 0; -1 where there is none."""
    views: int = 1
    """Number of views of each image, the image itself included."""
    stride: int = 0
    """Distance from the position of an image to that of its next view."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    @property
    def all_positions(self) -> Int64[np.ndarray, "positions"]:
        """Positions of all views of all images."""
        return np.concatenate([self.positions + self.stride * view for view in range(self.views)])

    def with_drawn_views(self, data_seed: int, epoch: int) -> "LabelledImages":
        """The images, each in the view that an epoch shows.

        Args:
            data_seed: seed of the draw.
            epoch: number of the epoch, from 0.
        """
        if self.views == 1:
            return self
        views = draw_views(len(self), self.views, data_seed, epoch)
        return replace(self, positions=self.positions + self.stride * views, views=1)


def read_labelled_images(
    cache: Cache, names: tuple[str, ...], columns: tuple[str, ...], views: int
) -> LabelledImages:
    """The images of a split that are valid in all their views and have a label in at least one column.

    Args:
        cache: the cache.
        names: name of the split, or of several, whose positions are those in their union.
        columns: names of the label columns.
        views: number of views that the split holds of each image: all images, then all of the next view.

    Raises:
        LosaError: the split holds other views, or no image has a label in one of the columns.
    """
    split = open_union(cache, names, views)
    images = len(split) // views
    if views > 1:
        photographs = [parse_key(key)[0] for key in split.keys]
        if photographs != views * photographs[:images]:
            raise other_views(cache, split.name, views)
    labels = np.stack([split.labels(column)[:images] for column in columns], axis=1)
    valid = np.logical_and.reduce(split.valid.reshape(views, images))
    known = valid[:, None] & (labels != MISSING_LABEL)
    for column, found in zip(columns, known.any(axis=0), strict=True):
        if not found:
            raise LosaError(
                f"{cache.path}: none of the {images} images of split {split.name!r} is readable and has a "
                f"label in column {column!r}"
            )
    positions = np.flatnonzero(known.any(axis=1))
    return LabelledImages(positions, labels[positions], views, images)
