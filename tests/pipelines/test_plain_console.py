import io
from typing import Any

import pytest
from rich.table import Table

from losa.pipelines.plain_console import PlainConsole


@pytest.fixture
def printed() -> Any:
    """``printed(renderable)``: what a terminal would get, without spaces at the ends of lines."""

    def render(renderable: Any) -> list[str]:
        console = PlainConsole(file=io.StringIO(), force_terminal=True, color_system=None, width=60)
        console.print(renderable)
        return [line.strip() for line in console.file.getvalue().splitlines()]

    return render


@pytest.mark.parametrize(
    ("text", "shown"),
    [(each, each) for each in ("photos [/new]", "[red]a[/red]", ":dog:", "größe 犬")]
    + [("\x1b[31mred", "\\x1b[31mred")],
)
def test_a_text_is_shown_as_it_is(text: str, shown: str, printed: Any) -> None:
    assert printed(text) == [shown]
    grid = Table.grid()
    grid.add_row(text)
    assert printed(grid) == [shown]
    table = Table(text, title=text, box=None)
    table.add_row(text)
    assert printed(table) == [shown] * 3


def test_a_closed_pipe_is_an_error_of_the_command() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        PlainConsole(file=Closed()).print("text")
