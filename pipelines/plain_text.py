"""Text from data and from the user without control characters, which would act on a terminal."""

import logging
import unicodedata


def visible(text: str) -> str:
    r"""A text with its control characters written as escapes; line ends and tabs stay.

    >>> visible("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """
    return "".join(_escaped(character) for character in text)


def in_one_line(text: str) -> str:
    r"""A text with its control characters as escapes, line ends and tabs among them: a cell of a table.

    >>> in_one_line("a\tb\x1b[2J")
    'a\\tb\\x1b[2J'
    """
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(character: str) -> str:
    if character in "\n\t" or not unicodedata.category(character).startswith("C"):
        return character
    return character.encode("unicode_escape").decode()


class PlainFormatter(logging.Formatter):
    """Formats messages of the log as `visible` text."""

    def format(self, record: logging.LogRecord) -> str:
        """The formatted message."""
        return visible(super().format(record))
