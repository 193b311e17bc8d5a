"""A console on which text from data and from the user is never markup."""

from typing import Any

from rich.console import Console
from rich.text import Text

from losa.pipelines.plain_text import visible


class PlainConsole(Console):
    """Shows strings, those in tables among them, as `visible` text without markup, emoji and highlights."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text that rich shows for a string."""
        return super().render_str(visible(text), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to `losa.pipelines.ending`; rich would end the program with another exit code."""
        raise  # the error that rich is handling
