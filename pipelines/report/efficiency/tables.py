"""The tables of `losa-report efficiency`."""

import math
from collections.abc import Sequence
from typing import Any

from losa.cache_format.common.units import readable
from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
from losa.pipelines.report.efficiency.rows import named, reference
from losa.pipelines.text_table import TextTable

_NONE = ""
_NEVER = "never"


def efficiency_tables(rows: Sequence[dict[str, Any]], comparison: EfficiencyComparison) -> list[TextTable]:
    """A table of the costs and, if a method was trained through the live backbone, one of ratios to it.

    Args:
        rows: those of `efficiency_rows`.
        comparison: the options.
    """
    scored = any(row["accuracy"] is not None for row in rows)
    notes = [f"{named(row)}: {row['note']}" for row in rows if row["note"] is not None]
    costs = TextTable(
        above=[_described(comparison)],
        titles=[
            "method",
            "trained from",
            "parameters",
            "s/epoch",
            "1 epoch, s" if comparison.epochs == 1 else f"{comparison.epochs} epochs, s",
            "with extraction",
            "peak memory",
            "cache",
            "GFLOPs",
            "images/s",
            *(["accuracy, %"] if scored else []),
        ],
        labels=2,
        lines=[_costs(row) + ([_percent(row["accuracy"])] if scored else []) for row in rows],
        below=[_legend(rows, comparison), *notes],
    )
    other = reference(rows)
    return [costs] if other is None else [costs, _ratios(rows, other)]


def _costs(row: dict[str, Any]) -> list[str]:
    name = [named(row), row["trained"] if row["trained"] in ("cache", "live") else _NONE]
    if row["note"] is not None:
        return [*name, *["-"] * 8]
    return [
        *name,
        _shown(row["parameters"], ",d"),
        _three_digits(row["seconds_per_epoch"]),
        _three_digits(row["seconds"]),
        _three_digits(row["seconds_with_extraction"]),
        _NONE if row["peak_bytes"] is None else readable(row["peak_bytes"]),
        _NONE if row["cache_bytes"] is None else readable(row["cache_bytes"]),
        _three_digits(row["gflops"]),
        _three_digits(row["images_per_s"]),
    ]


def _ratios(rows: Sequence[dict[str, Any]], other: dict[str, Any]) -> TextTable:
    return TextTable(
        above=[f"Compared with {named(other)}:"],
        titles=["method", "times faster", "with extraction", "of its memory", "cache pays after epochs"],
        labels=1,
        lines=[_compared(row) for row in rows if row["faster"] is not None],
        below=[
            "Faster: trained through the same epochs. The cache pays after so many epochs, of one training "
            "or of several together: extraction and training have then taken less time."
        ],
    )


def _compared(row: dict[str, Any]) -> list[str]:
    pays = row["break_even"]
    memory = row["of_memory"]
    return [
        named(row),
        _three_digits(row["faster"]),
        _three_digits(row["faster_with_extraction"]),
        _NONE if memory is None else f"{memory:.0%}",
        _NEVER if pays == math.inf else _shown(pays, ",d"),
    ]


def _described(comparison: EfficiencyComparison) -> str:
    machine = comparison.machine
    where = machine.get("gpu") or f"{machine['cores']} cores of {machine['processor']}"
    return (
        f"{comparison.backbone} on {where}, {comparison.dtype}: {comparison.images:,} images of "
        f"{comparison.folder.name} ({comparison.train_split}), batch {comparison.batch}, rank "
        f"{comparison.rank}, sites={comparison.sites}, codec={comparison.codec}."
    )


def _legend(rows: Sequence[dict[str, Any]], comparison: EfficiencyComparison) -> str:
    at_once = sorted({row["micro_batch"] for row in rows if row["micro_batch"] and row["trained"] == "cache"})
    counted = "tensors on the GPU" if "gpu" in comparison.machine else "what the process takes"
    parts = (
        f" Side networks compute {' or '.join(map(str, at_once))} images at once."
        if at_once and at_once != [comparison.batch]
        else ""
    )
    return (
        f"s/epoch: the median of up to {comparison.steps} steps, for all images; decoding is left out, but "
        "not of the extraction. Parameters: trained, with the head. Peak memory: of training, "
        f"{counted} beside images that are decoded already.{parts} Cache: bytes that an epoch reads. GFLOPs "
        "and images/s: of using the backbone and what was trained, for an image, a multiplication with its "
        "addition as two; LoRA is merged."
    )


def _three_digits(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def _shown(value: float | None, spec: str) -> str:
    return _NONE if value is None else format(value, spec)


def _percent(fraction: float | None) -> str:
    return _NONE if fraction is None else f"{100 * fraction:.1f}"
