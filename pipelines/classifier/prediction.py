"""What a side network says of an image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from losa.adapt.trained.side_network import split_columns
from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import LabelColumn


@dataclass(frozen=True, slots=True)
class LikelyClass:
    """A class and how likely the side network finds it."""

    name: str
    """Name of the class, or its number if the label column has no names."""
    number: int
    probability: float
    """Softmax of the class scores, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likely classes of one image in one label column, by one side network.

    >>> likely = LikelyClass("cat", 3, 0.9), LikelyClass("dog", 1, 0.05)
    >>> print(Prediction("photo.jpg", "losa", "label", likely))
    photo.jpg: cat 90.0 %, dog 5.0 %
    """

    image: str
    """Name of the image: its path, or its place among the given ones."""
    side_network: str
    column: str
    """Label column."""
    classes: tuple[LikelyClass, ...]
    """Classes, the most likely one first."""

    @property
    def best(self) -> LikelyClass:
        """The most likely class."""
        return self.classes[0]

    def to_json(self) -> dict[str, Any]:
        """All but the image, as a JSON value; probabilities have six digits."""
        classes = [
            {"name": each.name, "number": each.number, "probability": float(f"{each.probability:.6g}")}
            for each in self.classes
        ]
        return {"side_network": self.side_network, "column": self.column, "classes": classes}

    def __str__(self) -> str:
        """Image, and its likely classes with their probabilities."""
        likely = ", ".join(f"{each.name} {100 * each.probability:.1f} %" for each in self.classes)
        return f"{self.image}: {likely}"


def predictions(
    networks: StackedSideNetworks, images: Sequence[str], scores: Sequence[Tensor], top: int
) -> Iterator[Prediction]:
    """The predictions for some images: image by image, for each side network and label column.

    Args:
        networks: the side networks.
        images: names of the images.
        scores: class scores ``(images, classes)`` of each side network, over all its label columns.
        top: most classes of a prediction.
    """
    parts = [
        (name, column, torch.softmax(part.float(), dim=-1).cpu())
        for name, columns, found in zip(networks.names, networks.columns, scores, strict=True)
        for column, part in zip(columns, split_columns(found, columns), strict=True)
    ]
    for number, image in enumerate(images):
        for name, column, probabilities in parts:
            best = probabilities[number].topk(min(top, column.num_classes))
            likely = tuple(
                LikelyClass(class_name(column, index), index, value)
                for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            )
            yield Prediction(image, name, column.name, likely)


def by_image(found: Iterable[Prediction]) -> Iterator[tuple[str, list[Prediction]]]:
    """Each image, and what all side networks say of it."""
    for image, group in groupby(found, key=lambda prediction: prediction.image):
        yield image, list(group)


def class_name(column: LabelColumn, number: int) -> str:
    """Name of a class, or its number if it has none."""
    return str(number) if column.classes is None else column.classes[number]
