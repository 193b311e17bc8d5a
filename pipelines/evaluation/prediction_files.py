"""Predictions as CSV or Parquet: one row for each image, side network and label column."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int64

from losa.cache_format import LosaError
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.storage.atomic_writes import make_folder, publishing
from losa.pipelines.classifier.prediction import class_name
from losa.pipelines.evaluation.config import PredictionFormat
from losa.pipelines.evaluation.judge import Output, Predicted

FOLDER = "predictions"
ROWS_PER_PART = 2**18
"""Rows of a file after which the next one begins."""
_PART = re.compile(r"part-\d{9,}\.(csv|parquet)(\.tmp)?")


def parts_in(folder: Path) -> list[Path]:
    """The files of predictions in the folder of an evaluation."""
    return [path for path in (folder / FOLDER).glob("part-*") if _PART.fullmatch(path.name)]


@dataclass
class PredictionFiles:
    """Keeps predictions until a part of them is written, whole, as a file."""

    folder: Path
    """Folder of the evaluation."""
    format: PredictionFormat
    outputs: Sequence[Output]
    _keys: list[str] = field(default_factory=list)
    _labels: list[np.ndarray] = field(default_factory=list)
    _predicted: list[Predicted] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse Parquet without its library, before anything is computed.

        Raises:
            LosaError: pyarrow is not installed.
        """
        if self.format == "parquet":
            try:
                import pyarrow  # noqa: F401
            except ImportError:
                raise LosaError(
                    "predictions=parquet needs pyarrow: pip install 'losa[parquet]'; predictions=csv does not"
                ) from None

    @property
    def is_full(self) -> bool:
        """Whether it is time to write a part."""
        return len(self._keys) * len(self.outputs) >= ROWS_PER_PART

    def add(
        self, keys: Sequence[str], labels: Int64[np.ndarray, "images outputs"], predicted: Predicted
    ) -> None:
        """Keep the predictions for a batch."""
        if self.format == "none":
            return
        self._keys += keys
        self._labels.append(labels)
        self._predicted.append(predicted)

    def write(self, first: int) -> None:
        """Write what was kept since the last part, if anything.

        Args:
            first: position of the first image, which names the file.
        """
        if self._keys:
            path = self.folder / FOLDER / f"part-{first:09}.{self.format}"
            make_folder(path.parent)
            with publishing(path) as file:
                (_write_csv if self.format == "csv" else _write_parquet)(file, self._table())
        self._keys, self._labels, self._predicted = [], [], []

    def _table(self) -> dict[str, np.ndarray]:
        images, outputs = len(self._keys), len(self.outputs)
        labels = np.concatenate(self._labels)
        classes = np.concatenate([each.classes for each in self._predicted])
        probabilities = np.concatenate([each.probabilities for each in self._predicted])
        names = [_names(output) for output in self.outputs]
        correct = (labels == classes).astype(object)
        correct[labels == MISSING_LABEL] = None
        return {
            "image": np.repeat(np.array(self._keys, object), outputs),
            "label": np.stack([names[n][labels[:, n]] for n in range(outputs)], axis=1).ravel(),
            "side_network": np.tile(np.array([each.side_network for each in self.outputs], object), images),
            "column": np.tile(np.array([each.column.name for each in self.outputs], object), images),
            "predicted": np.stack([names[n][classes[:, n]] for n in range(outputs)], axis=1).ravel(),
            "probability": probabilities.ravel(),
            "correct": correct.ravel(),
        }


def _names(output: Output) -> np.ndarray:
    """Names of the classes, with None in the last place, where the label -1 points to."""
    column = output.column
    return np.array([*(class_name(column, number) for number in range(column.num_classes)), None], object)


def _write_csv(file: BinaryIO, table: dict[str, np.ndarray]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(table)
    truth: dict[Any, str] = {True: "true", False: "false", None: ""}
    *others, correct = table.values()
    writer.writerows(zip(*others, (truth[value] for value in correct), strict=True))
    text.flush()
    text.detach()


def _write_parquet(file: BinaryIO, table: dict[str, np.ndarray]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(table), file)
