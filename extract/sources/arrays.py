"""Images and labels in memory, for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex, cast

import numpy as np
from jaxtyping import Int64
from PIL import Image

from losa.cache_format.errors import LosaError
from losa.cache_format.manifest import LabelColumn
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.extract.sources.base import StoredImage
from losa.extract.sources.indexed import IndexedSource, IndexedSplit, item_keys
from losa.extract.sources.labels import numbered_column, refuse_no_labels
from losa.extract.sources.written_labels import written_labels

ImagesInMemory = np.ndarray | Sequence[StoredImage | np.ndarray]
"""A uint8 array ``(images, height, width)`` or ``(images, height, width, channels)``, or single images."""
LabelsInMemory = np.ndarray | Sequence[int] | Sequence[str | None] | None
"""For each image a number, -1 for none, or the name of a class, None for none; None: no image has a label."""


@dataclass(frozen=True, slots=True)
class _Images:
    stored: ImagesInMemory

    def read(self, index: int) -> StoredImage:
        return stored_image(self.stored[index], f"image {index}")


class ArraySource(IndexedSource):
    """Images in memory. Keys are ``<split>/<number>``, and the one label column is ``label``.

    >>> source = ArraySource({"train": (np.zeros((3, 8, 8, 3), np.uint8), [1, 0, -1])})
    >>> source.contents("train").keys, source.columns[0].num_classes
    (['train/0', 'train/1', 'train/2'], 2)
    """

    def __init__(
        self,
        splits: Mapping[str, tuple[ImagesInMemory, LabelsInMemory]],
        *,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Take images and labels, which must not be changed afterwards.

        Args:
            splits: split -> its images and labels. An image is an array of dtype uint8 and shape
                ``(height, width)`` or ``(height, width, channels)`` with 1, 3 (RGB) or 4 (RGBA) channels, a
                PIL image, or the bytes of an encoded image.
            num_classes: number of classes of labels that are numbers; None: the highest of all splits and one
                more.
            classes: names of the classes, in the order of their numbers.

        Raises:
            LosaError: a split is empty, images or labels are of the wrong type or shape, labels are not as
                many as images, or they do not fit the number or the names of classes.
        """
        labels = []
        for split, (images, wanted) in splits.items():
            if len(images) == 0:
                raise LosaError(f"split {split!r} is empty: there is nothing to extract")
            stored_image(images[0], f"split {split!r}, image 0")
            labels.append(_listed(split, wanted, len(images)))
        column, numbers = label_column([one for split in labels for one in split], num_classes, classes)
        starts = np.cumsum([0, *map(len, labels)])
        super().__init__(
            {
                split: IndexedSplit(
                    images=_Images(images),
                    keys=item_keys(split, [None] * len(images)),
                    labels={column.name: numbers[start : start + len(images)]},
                )
                for (split, (images, _)), start in zip(splits.items(), starts, strict=False)
            },
            [column],
        )


def label_column(
    labels: Sequence[object], num_classes: int | None, classes: Sequence[str] | None
) -> tuple[LabelColumn, Int64[np.ndarray, "images"]]:
    """The label column of labels that a program gives.

    Args:
        labels: for each image of all splits a number, -1 for none, or the name of a class, None for none.
        num_classes: number of classes; None: as many as needed.
        classes: names of the classes, in the order of their numbers; None: unknown, or those in the labels.

    Raises:
        LosaError: labels are of the wrong type, or do not fit the number or the names of classes.
    """
    if any(isinstance(one, str) for one in labels):
        return written_labels(
            "label", [None if one is None else str(one) for one in labels], num_classes, "labels"
        )
    try:
        numbers = np.array(
            [MISSING_LABEL if one is None else index(cast(SupportsIndex, one)) for one in labels], np.int64
        )
    except TypeError as error:
        raise LosaError(
            f"labels: expected an integer, or a name of a class, for each image ({error})"
        ) from None
    refuse_no_labels("label", numbers, "labels")
    if classes is None:
        return numbered_column("label", numbers, num_classes, "labels"), numbers
    column = numbered_column("label", numbers, len(classes), "labels")
    return LabelColumn(name=column.name, num_classes=column.num_classes, classes=tuple(classes)), numbers


def stored_image(image: object, place: str) -> StoredImage:
    """An image from a program as sources give it.

    Raises:
        LosaError: it is no image, or one whose range or order of channels is not known.
    """
    if isinstance(image, bytes | Image.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise LosaError(
            f"{place}: expected an array of dtype uint8, a PIL image or the bytes of an encoded image, found "
            f"{type(image).__name__}"
        )
    if image.dtype != np.uint8:
        raise LosaError(
            f"{place}: expected dtype uint8, found {image.dtype}. Whether 1 or 255 is white cannot be known: "
            "scale to 0 to 255, then .round().astype(np.uint8), of images that are not normalised yet"
        )
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] in (3, 4)):
        raise LosaError(
            f"{place}: expected shape (height, width) or (height, width, channels) with 1, 3 or 4 channels, "
            f"found {image.shape}. Channels come last: .transpose(0, 2, 3, 1) of an array of images"
        )
    return Image.fromarray(np.ascontiguousarray(image))


def _listed(split: str, labels: LabelsInMemory, images: int) -> list[int | str | None]:
    if labels is None:
        return [None] * images
    listed: list[int | str | None] = list(labels.tolist() if isinstance(labels, np.ndarray) else labels)
    if len(listed) != images:
        raise LosaError(f"split {split!r}: {images:,} images, but {len(listed):,} labels")
    return listed
