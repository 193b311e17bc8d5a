"""The table of members with which a tracker's run ends."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from losa.adapt import MemberSummary
from losa.pipelines.shown_options import shown, varying_options

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class MembersTable:
    """A line for each member, best first."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @classmethod
    def of(cls, summaries: Sequence[MemberSummary]) -> "MembersTable":
        """The table of some members.

        Its columns are the name, the options that differ, the accuracy on each scored split, and what the
        training came to. The first split decides on the order, then the others; members that were not scored
        on a split come later.
        """
        splits = list(dict.fromkeys(split for summary in summaries for split in summary.accuracy))
        options = varying_options([summary.options for summary in summaries])
        ranked = sorted(
            summaries, key=lambda summary: [-summary.accuracy.get(split, -1.0) for split in splits]
        )
        costs = ("best_val_accuracy", "train_loss", "epochs", "parameters", "seconds")
        rows: list[list[Cell]] = [
            [
                summary.name,
                *(_cell(summary.options.get(name)) for name in options),
                *(summary.accuracy.get(split) for split in splits),
                *(getattr(summary, name) for name in costs),
                summary.status,
                summary.folder,
            ]
            for summary in ranked
        ]
        scores = [f"accuracy/{split}" for split in splits]
        return cls(["member", *options, *scores, *costs, "status", "folder"], rows)

    def to_csv(self) -> str:
        """The table with every number in full."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([self.columns, *self.rows])
        return text.getvalue()

    def to_markdown(self) -> str:
        """The table as GitHub's Markdown, numbers with six digits."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(map(_in_markdown, line))} |" for line in lines)


def _cell(value: object) -> Cell:
    """A number as it is, anything else as it is typed."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None if value is None else shown(value, short=False)


def _in_markdown(cell: Cell) -> str:
    return shown(cell).replace("|", "\\|")
