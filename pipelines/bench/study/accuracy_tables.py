"""The tables of `losa-bench accuracy`."""

from collections.abc import Sequence

from losa.pipelines.bench.study.cells import cells_of, parameters_of
from losa.pipelines.bench.study.correct_images import difference_of
from losa.pipelines.bench.study.ensembles import JOIN
from losa.pipelines.bench.study.protocols import CANDIDATE, PROTOCOL, SELECTED
from losa.pipelines.bench.study.rows import Row
from losa.pipelines.bench.study.settings import LINEAR, StudySettings
from losa.pipelines.cells import MISSING, Cell, signed_text_of, text_of
from losa.pipelines.shown_options import shown, varying_options
from losa.pipelines.text_table import TextTable

BELOW = "↓"


def accuracy_tables(rows: Sequence[Row], settings: StudySettings) -> list[TextTable]:
    """A table of the accuracies, one of the differences from the linear probe, and one of what was chosen."""
    sets = list(dict.fromkeys(row.set for row in rows))
    reported: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.variant != CANDIDATE:
            reported.setdefault((row.side, row.variant), []).append(row)
    # One side network after the other, in their order; of each, its protocols.
    sides = list(dict.fromkeys(side for side, _ in reported))
    kinds = sorted(reported, key=lambda kind: sides.index(kind[0]))
    tables = [
        TextTable(
            above=[settings.described],
            titles=["side network", PROTOCOL, "parameters", *sets, "mean"],
            labels=2,
            lines=[[*kind, parameters_of(reported[kind]), *_marked(reported, kind, sets)] for kind in kinds],
            below=[_legend(settings), *_of_ensembles(sides)],
        )
    ]
    if any(side != LINEAR for side, _ in kinds):
        tables.append(_differences(reported, kinds, sets))
    if any(protocol == SELECTED for _, protocol in kinds):
        candidates = dict.fromkeys(row.side for row in rows if row.variant == CANDIDATE)
        tables.append(_choices(rows, sets, list(candidates)))
    return tables


def _marked(
    reported: dict[tuple[str, str], list[Row]], kind: tuple[str, str], sets: Sequence[str]
) -> list[str]:
    """The cells of a line, marked where the linear probe under the same protocol is better."""
    probe = cells_of(reported[LINEAR, kind[1]], sets)
    return [
        f"{cell} {BELOW}" if cell and other and cell.is_below(other) else text_of(cell)
        for cell, other in zip(cells_of(reported[kind], sets), probe, strict=True)
    ]


def _legend(settings: StudySettings) -> str:
    if settings.seeds == 1:
        return "Nothing is compared with the linear probe: one seed has no standard error."
    return (
        f"{BELOW} below the linear probe under the same protocol, by more than the standard error of the "
        "difference."
    )


def _of_ensembles(sides: Sequence[str]) -> list[str]:
    named = [side for side in sides if JOIN in side]
    if not named:
        return []
    return [
        f"{', '.join(named)}: the mean of the class probabilities of these members of the same seed; "
        "parameters: of all of them."
    ]


def _differences(
    reported: dict[tuple[str, str], list[Row]], kinds: Sequence[tuple[str, str]], sets: Sequence[str]
) -> TextTable:
    lines = []
    for side, protocol in kinds:
        if side == LINEAR:
            continue
        ours, probe = reported[side, protocol], reported[LINEAR, protocol]
        cells = [
            difference_of(*([row for row in rows if row.set == name] for rows in (ours, probe)))
            for name in sets
        ]
        lines.append([side, protocol, *map(signed_text_of, [*cells, Cell.mean_of(cells)])])
    return TextTable(
        above=[
            "What they add to the linear probe under the same protocol, with the standard error that other "
            "images and other seeds make."
        ],
        titles=["side network", PROTOCOL, *sets, "mean"],
        labels=2,
        lines=lines,
    )


def _choices(rows: Sequence[Row], sets: Sequence[str], sides: Sequence[str]) -> TextTable:
    """The options that were chosen, of those that differ between candidates."""

    def chosen(side: str, name: str) -> str:
        here = [row for row in rows if (row.side, row.set) == (side, name)]
        varied = varying_options([row.options for row in here if row.variant == CANDIDATE])
        found = next(row for row in here if row.variant == SELECTED)
        if found.accuracy is None:
            return MISSING
        return " ".join(f"{option}={shown(found.options[option])}" for option in varied)

    return TextTable(
        above=["What was chosen:"],
        titles=["side network", *sets],
        labels=1 + len(sets),
        lines=[[side, *(chosen(side, name) for name in sets)] for side in sides],
    )
