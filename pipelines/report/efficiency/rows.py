"""Measurements as rows: what a training of so many epochs costs, and when the cache has paid for itself."""

import math
import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.measurements import Measurement

_SAME_NAMES = (
    "parameters",
    "head_parameters",
    "micro_batch",
    "peak_bytes",
    "cache_bytes",
    "gflops",
    "images_per_s",
    "threads",
)
REFERENCE = "lora"
"""The method that others are compared with, if it was measured."""


def efficiency_rows(
    measurements: Sequence[Measurement],
    comparison: EfficiencyComparison,
    accuracies: Mapping[str, float] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """A row for each measurement.

    Args:
        measurements: what `EfficiencyComparison.run` returned.
        comparison: the options.
        accuracies: side network or method -> accuracy, a fraction, as far as they are known.

    Returns:
        Rows with

        - ``method``, ``trained`` (``cache``, ``live``; ``extraction`` and ``backbone`` for what these cost)
          and ``checkpointing``;
        - ``parameters`` that are trained, and ``head_parameters`` among them;
        - ``seconds_per_epoch``: the seconds per image of the median step, for all images;
        - ``seconds``: those of all epochs; of the extraction, its own;
        - ``seconds_with_extraction``: the same, and of a side network those of the extraction added;
        - ``peak_bytes`` of memory, ``micro_batch`` (images that are computed at once), ``threads``;
        - ``cache_bytes`` that an epoch reads; of the extraction, those that it wrote;
        - ``gflops`` of an image and ``images_per_s``, both from the image to the class scores;
        - compared with the `reference` method: ``faster`` and ``faster_with_extraction``, ratios of speeds,
          ``of_memory``, the part of its memory, and of a side network ``break_even``, the epochs of training
          after which extraction and training together have taken less time; infinite if they never do;
        - ``accuracy``: a fraction, or None;
        - ``note``: None, or why there are no figures; all of them are None then.
    """
    rows = [
        _costs(measurement, comparison) | {"accuracy": accuracies.get(measurement.setting.method)}
        for measurement in measurements
    ]
    found = reference(rows)
    extraction = next(row["seconds"] for row in rows if row["trained"] == "extraction")
    return [row | _compared(row, found, extraction) for row in _with_extraction(rows, extraction)]


def reference(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row that others are compared with: of LoRA, or of the first live method; None without any."""
    live = [row for row in rows if row["trained"] == "live" and row["seconds"] is not None]
    preferred = [row for row in live if row["method"] == REFERENCE and not row["checkpointing"]]
    return next(iter(preferred + live), None)


def named(row: dict[str, Any]) -> str:
    """The method of a row, and whether it has gradient checkpointing."""
    return f"{row['method']}, checkpointing" if row["checkpointing"] else str(row["method"])


def _costs(measurement: Measurement, comparison: EfficiencyComparison) -> dict[str, Any]:
    setting, figures = measurement.setting, measurement.figures
    row: dict[str, Any] = {
        "method": setting.method,
        "trained": setting.kind,
        "checkpointing": setting.checkpointing,
        "seconds_per_epoch": None,
        "seconds": figures.get("seconds"),
    }
    if "step_seconds" in figures:
        per_image = statistics.median(figures["step_seconds"]) / figures["step_images"]
        row["seconds_per_epoch"] = per_image * comparison.images
        row["seconds"] = row["seconds_per_epoch"] * comparison.epochs
    return row | {name: figures.get(name) for name in _SAME_NAMES} | {"note": measurement.note}


def _with_extraction(rows: Sequence[dict[str, Any]], extraction: float | None) -> list[dict[str, Any]]:
    def total(row: dict[str, Any]) -> float | None:
        if row["trained"] != "cache" or row["seconds"] is None:
            return row["seconds"] if row["trained"] == "live" else None
        return None if extraction is None else row["seconds"] + extraction

    return [row | {"seconds_with_extraction": total(row)} for row in rows]


def _compared(
    row: dict[str, Any], other: dict[str, Any] | None, extraction: float | None
) -> dict[str, float | None]:
    """Ratios to another row."""
    if other is None or row["seconds_per_epoch"] is None:
        return dict.fromkeys(("faster", "faster_with_extraction", "of_memory", "break_even"))
    return {
        "faster": other["seconds"] / row["seconds"],
        "faster_with_extraction": _ratio(other["seconds"], row["seconds_with_extraction"]),
        "of_memory": _ratio(row["peak_bytes"], other["peak_bytes"]),
        "break_even": _break_even(row, other, extraction) if row["trained"] == "cache" else None,
    }


def _ratio(theirs: float | None, mine: float | None) -> float | None:
    return theirs / mine if theirs and mine else None


def _break_even(row: dict[str, Any], other: dict[str, Any], extraction: float | None) -> float | None:
    if extraction is None:
        return None
    gained = other["seconds_per_epoch"] - row["seconds_per_epoch"]
    return math.ceil(extraction / gained) if gained > 0 else math.inf
