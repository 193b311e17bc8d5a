"""The results of an evaluation: a table for people, results.csv, results.json and confusion.json."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from losa.cache_format import LosaError
from losa.cache_format.common.units import counted
from losa.cache_format.storage.atomic_writes import make_folder, publish
from losa.pipelines.evaluation.judge import Output
from losa.pipelines.evaluation.progress import other_evaluation
from losa.pipelines.evaluation.tally import Figures
from losa.pipelines.plain_text import visible

RESULTS = "results.json"
TABLE = "results.csv"
CONFUSION = "confusion.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The figures of a side network in one label column; see `losa.pipelines.evaluation.tally.Figures`."""

    side_network: str
    column: str
    top1: float | None
    top5: float | None
    mean_per_class: float | None
    calibration_error: float | None
    nll: float | None
    images: int
    """Number of images that have a label in the column."""
    invalid: int
    """Number of images that could not be read, which are not judged on."""

    @classmethod
    def of(cls, output: Output, figures: Figures, invalid: int) -> "Judgement":
        """The judgement of one output."""
        return cls(
            side_network=output.side_network,
            column=output.column.name,
            top1=figures.top1,
            top5=figures.top5,
            mean_per_class=figures.mean_per_class,
            calibration_error=figures.calibration_error,
            nll=figures.nll,
            images=figures.images,
            invalid=invalid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that ``results.json`` holds."""

    identity: str
    """Hash of what was judged on what."""
    data: str
    """Name of the data set."""
    split: str
    judgements: list[Judgement]
    """Best first in each label column."""
    invalid_images: list[str]
    """A line for each image that could not be read."""

    @classmethod
    def read(cls, folder: Path, identity: str) -> "Results | None":
        """The results of a finished evaluation in a folder; None if there are none.

        Raises:
            LosaError: the file is damaged, or is of another evaluation.
        """
        path = folder / RESULTS
        try:
            found = TypeAdapter(cls).validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise LosaError(f"{path} is damaged; overwrite=true judges again") from None
        if found.identity != identity:
            raise other_evaluation(folder)
        return found

    def write(self, folder: Path, confusion: Mapping[str, Any]) -> None:
        """Write all files, ``results.json`` last: its presence means that the evaluation is finished."""
        make_folder(folder)
        publish(folder / CONFUSION, json.dumps(confusion).encode() + b"\n")
        publish(folder / TABLE, self._csv().encode())
        publish(folder / RESULTS, json.dumps(asdict(self), indent=2).encode() + b"\n")

    def table(self) -> Table:
        """The judgements as a table."""
        columns = {each.column: each.images for each in self.judgements}
        images = ", ".join(
            counted(count, "image", "images") + (f" with {column}" if len(columns) > 1 else "")
            for column, count in columns.items()
        )
        title = f"{self.data}, split {self.split}: {images}, {len(self.invalid_images):,} invalid"
        table = Table(title=visible(title), title_justify="left")
        table.add_column("side network", overflow="fold")
        if len(columns) > 1:
            table.add_column("column")
        for heading in ("top-1", "top-5", "per class", "ECE", "NLL"):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in self.judgements:
            figures = (each.top1, each.top5, each.mean_per_class, each.calibration_error, each.nll)
            table.add_row(
                visible(each.side_network),
                *([visible(each.column)] if len(columns) > 1 else []),
                *("" if figure is None else f"{figure:.4f}" for figure in figures),
            )
        return table

    def _csv(self) -> str:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(Judgement.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(map(asdict, self.judgements))
        return text.getvalue()


def best_first(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Label columns in their order, and the side networks of each by top-1; those without figures last."""
    columns = list(dict.fromkeys(each.column for each in judgements))
    return sorted(
        judgements,
        key=lambda each: (columns.index(each.column), each.top1 is None, -(each.top1 or 0.0)),
    )


def confusion_of(
    outputs: Sequence[Output], figures: Sequence[Figures], split: str
) -> dict[str, dict[str, Any]]:
    """Side network -> its confusion, in the form of ``confusion.json`` of a trained member."""
    found: dict[str, dict[str, Any]] = {}
    for output, each in zip(outputs, figures, strict=True):
        mine = found.setdefault(output.side_network, {"classes": {}, "splits": {split: {}}})
        mine["classes"][output.column.name] = output.column.classes
        mine["splits"][split][output.column.name] = each.confusion.to_json()
    return found
