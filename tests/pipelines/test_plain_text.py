import io
import logging

import pytest
from rich.table import Table

from losa.pipelines.plain_text import VisibleFormatter, in_one_line, plain_console, visible


@pytest.mark.parametrize("text", ["photos [/new]", "[red]a[/red]", ":dog:", "größe 犬"])
def test_a_text_is_shown_as_it_is(text: str) -> None:
    console = plain_console()
    console.file = io.StringIO()
    table = Table.grid()
    table.add_row(visible(text))
    console.print(table)
    assert console.file.getvalue() == f"{text}\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[31mred", "\\x1b[31mred"), ("a\rb", "a\\rb"), ("\u202egnp", "\\u202egnp"), ("\udcff", "\\udcff")],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert visible({"name": [text, 1], text: None}) == {"name": [shown, 1], shown: None}


def test_a_cell_of_a_table_has_no_line_ends() -> None:
    assert in_one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


def test_messages_cannot_steer_the_terminal() -> None:
    record = logging.LogRecord("losa", logging.INFO, "file", 1, "skipped: %s\nnext", ("\x1b[2J.jpg",), None)
    assert VisibleFormatter("%(message)s").format(record) == "skipped: \\x1b[2J.jpg\nnext"
