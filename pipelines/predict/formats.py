"""Predictions as text: a table for people, CSV, or JSON Lines."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Literal, Protocol

from losa.adapt.trained.stacked import StackedSideNetworks
from losa.pipelines.classifier.prediction import Prediction
from losa.pipelines.predict.table import PredictionTable

FormatName = Literal["table", "csv", "json"]


class TextFormat(Protocol):
    """How predictions are written, image by image, so that any number of them takes no memory."""

    @property
    def head(self) -> str:
        """What comes before the first image."""

    def of_image(self, image: str, found: Sequence[Prediction]) -> str:
        """The text for an image, line ends included."""


class CsvRows:
    """A row for each class of each prediction."""

    head = "image,side_network,column,place,class,number,probability\n"

    def of_image(self, image: str, found: Sequence[Prediction]) -> str:
        """See `TextFormat`."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(
            (
                image,
                each.side_network,
                each.column,
                place,
                likely.name,
                likely.number,
                f"{likely.probability:.6g}",
            )
            for each in found
            for place, likely in enumerate(each.classes, start=1)
        )
        return text.getvalue()


class JsonLines:
    """An object for each image, on a line of its own."""

    head = ""

    def of_image(self, image: str, found: Sequence[Prediction]) -> str:
        """See `TextFormat`."""
        return f"{json.dumps({'image': image, 'predictions': [each.to_json() for each in found]})}\n"


def text_format(
    name: FormatName, networks: StackedSideNetworks, images: Sequence[str], width: int | None
) -> TextFormat:
    """The format of a name.

    Args:
        name: its name.
        networks: the side networks.
        images: names of all images.
        width: most characters in a line of a table; None: as many as it takes.
    """
    if name == "table":
        return PredictionTable(networks, images, width)
    return CsvRows() if name == "csv" else JsonLines()
