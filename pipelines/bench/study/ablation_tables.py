"""The tables of `losa-bench ablations`: one for each option, and what the papers say beside what was seen."""

from collections.abc import Sequence

from losa.extract import ExtractConfig
from losa.pipelines.bench.study.cells import cells_of, parameters_of
from losa.pipelines.bench.study.changes import CHANGES
from losa.pipelines.bench.study.rows import StudyRow
from losa.pipelines.bench.study.settings import StudySettings
from losa.pipelines.bench.study.variants import DEFAULT
from losa.pipelines.cells import MISSING, Cell, signed_text_of, text_of
from losa.pipelines.shown_options import shown
from losa.pipelines.text_table import TextTable

By = dict[str, dict[str, list[StudyRow]]]
"""Side network -> variant -> members on all data sets."""


def ablation_tables(
    rows: Sequence[StudyRow], settings: StudySettings, options: Sequence[str]
) -> list[TextTable]:
    """A table for each option that was changed, and one of the papers' words.

    Args:
        rows: the members.
        settings: what they have in common.
        options: names of the options, keys of `CHANGES`.
    """
    sets = list(dict.fromkeys(row.set for row in rows))
    by: By = {}
    for row in rows:
        by.setdefault(row.side, {}).setdefault(row.variant, []).append(row)
    tables = [_table(by, option, sets) for option in options if _sides(by, option)]
    return [
        TextTable(
            above=[settings.described],
            titles=["option", "side network", "papers", DEFAULT, "best change", "worst change"],
            labels=6,
            lines=[
                [option, side, CHANGES[option].said(side), *_seen(by[side], option, sets)]
                for option in options
                for side in _sides(by, option)
            ],
            below=[
                "Changes: the mean over the data sets, less that of the default. [S]: second hand, "
                "[D]: derived, [?]: unknown to us."
            ],
        ),
        *tables,
    ]


def _sides(by: By, option: str) -> list[str]:
    """The side networks of which the option was changed."""
    return [side for side, variants in by.items() if any(_changes(variant, option) for variant in variants)]


def _changes(variant: str, option: str) -> bool:
    return variant.partition("=")[0] == option


def _table(by: By, option: str, sets: Sequence[str]) -> TextTable:
    lines = []
    for side in _sides(by, option):
        default = cells_of(by[side][DEFAULT], sets)
        for variant, members in by[side].items():
            if variant == DEFAULT:
                shown_value, against = f"{_default(by[side], option)} ({DEFAULT})", ""
            elif _changes(variant, option):
                shown_value = variant.removeprefix(f"{option}=")
                against = signed_text_of(_difference(cells_of(members, sets)[-1], default[-1]))
            else:
                continue
            cells = map(text_of, cells_of(members, sets))
            lines.append([side, shown_value, parameters_of(members), *cells, against])
    return TextTable(
        titles=["side network", option, "parameters", *sets, "mean", f"less {DEFAULT}"], labels=2, lines=lines
    )


def _default(variants: dict[str, list[StudyRow]], option: str) -> str:
    """The value of an option where it is not changed."""
    if option == "codec":
        return ExtractConfig.codec
    config = variants[DEFAULT][0].config
    return shown(config.resolved_rank if option == "rank" else getattr(config, option))


def _seen(variants: dict[str, list[StudyRow]], option: str, sets: Sequence[str]) -> list[str]:
    """The default, and the changes that raise the mean over the data sets the most and the least."""
    default = cells_of(variants[DEFAULT], sets)[-1]
    changes = {}
    for variant, members in variants.items():
        difference = _difference(cells_of(members, sets)[-1], default)
        if _changes(variant, option) and difference is not None:
            changes[variant.removeprefix(f"{option}=")] = difference
    ordered = sorted(changes, key=lambda value: -changes[value].mean)
    told = [f"{value}: {signed_text_of(changes[value])}" for value in ordered]
    best, *others = told or [MISSING]
    return [_default(variants, option), best, others[-1] if others else ""]


def _difference(cell: Cell | None, default: Cell | None) -> Cell | None:
    return cell.minus(default) if cell and default else None
