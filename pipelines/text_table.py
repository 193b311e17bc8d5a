"""A table of texts, for the terminal and for Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Lines of text below titles, with sentences above and below."""

    above: Sequence[str] = ()
    titles: Sequence[str]
    labels: int
    """Number of the first columns that are names; the others are numbers."""
    lines: Sequence[Sequence[str]]
    below: Sequence[str] = ()

    def rich(self) -> Group:
        """The table for a terminal."""
        table = Table()
        for place, title in enumerate(self.titles):
            is_name = place < self.labels
            table.add_column(title, justify="left" if is_name else "right", no_wrap=not is_name)
        for line in self.lines:
            table.add_row(*line)
        return Group(*self.above, table, *self.below)

    def markdown(self) -> str:
        """The table for a page of documentation."""
        marks = ["---" if place < self.labels else "---:" for place in range(len(self.titles))]
        rows = [[text.replace("|", r"\|") for text in line] for line in (self.titles, marks, *self.lines)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return "\n\n".join([*self.above, table, *self.below]) + "\n"


def markdown_of(tables: Iterable[TextTable]) -> str:
    """Several tables for one page of documentation."""
    return "\n".join(table.markdown() for table in tables)
