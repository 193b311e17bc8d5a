"""Text from data on a terminal: never markup, and no control characters."""

import logging
import unicodedata
from typing import Any

from rich.console import Console


def plain_console(*, soft_wrap: bool = True) -> Console:
    """A console that shows brackets, colons and numbers in texts as they are.

    Args:
        soft_wrap: whether long lines are left to the terminal, not folded.
    """
    return Console(soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)


def visible(value: Any) -> Any:
    r"""A JSON value with the control characters of its texts written as escapes; line ends and tabs stay.

    >>> visible({"name": "a\x1b[2Jb", "sizes": [1, "\u202ec"]})
    {'name': 'a\\x1b[2Jb', 'sizes': [1, '\\u202ec']}
    """
    if isinstance(value, str):
        return "".join(_escaped(character) for character in value)
    if isinstance(value, dict):
        return {visible(name): visible(item) for name, item in value.items()}
    return [visible(item) for item in value] if isinstance(value, list | tuple) else value


def in_one_line(text: str) -> str:
    r"""A text with its control characters as escapes, line ends and tabs among them: a cell of a table.

    >>> in_one_line("a\tb\x1b[2J")
    'a\\tb\\x1b[2J'
    """
    escaped: str = visible(text)
    return escaped.replace("\n", "\\n").replace("\t", "\\t")


class VisibleFormatter(logging.Formatter):
    """Formats messages so that the names of files in them cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, with its control characters as escapes."""
        return str(visible(super().format(record)))


def _escaped(character: str) -> str:
    if character in "\n\t" or not unicodedata.category(character).startswith("C"):
        return character
    return character.encode("unicode_escape").decode()
