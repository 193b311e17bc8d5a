import io

import pytest
from rich.table import Table

from losa.pipelines.plain_text import plain_console, visible


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
