"""Text from data on a terminal: never markup, and no control characters."""

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


def _escaped(character: str) -> str:
    if character in "\n\t" or not unicodedata.category(character).startswith("C"):
        return character
    return character.encode("unicode_escape").decode()
