"""A table as Markdown and in a terminal."""

import io
from dataclasses import replace

from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.text_table import TextTable

TABLE = TextTable(
    above=["Above."], titles=["name", "score"], labels=1, lines=[["one", "1.0 ± 0.1"]], below=["Below."]
)


def test_markdown() -> None:
    assert TABLE.markdown() == "Above.\n\n| name | score |\n| --- | ---: |\n| one | 1.0 ± 0.1 |\n\nBelow.\n"


def test_a_name_does_not_end_a_cell_of_markdown() -> None:
    """A task is named by its folder."""
    assert "| one\\|two | 2 |" in replace(TABLE, lines=[["one|two", "2"]]).markdown()


def test_the_terminal_shows_the_same() -> None:
    console = PlainConsole(width=60, record=True, file=io.StringIO())
    console.print(TABLE.rich())
    shown = console.export_text()
    places = [shown.index(text) for text in ("Above.", "name", "score", "one", "1.0 ± 0.1", "Below.")]
    assert places == sorted(places)
