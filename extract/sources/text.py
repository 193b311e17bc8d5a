"""Reads text files of unknown origin: their encodings, and where their lines end."""

import codecs
from pathlib import Path

from losa.cache_format.errors import LosaError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, and encodings that skip them."""
_NOT_OF_FILES = ("idna", "punycode", "undefined")
"""Codecs of Python's that files do not have."""
_HEAD = 2**16
"""Bytes in which the first line is looked for."""
_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-32": "UTF-32"}


def read_text(file: Path, encoding: str | None) -> str:
    """Read a text file.

    Args:
        file: the file.
        encoding: name of its encoding; None: the one of its byte order mark, or UTF-8 if it has none.

    Raises:
        LosaError: there is no such file, no such encoding, or the file is in another one; the message names
            the line.
    """
    data = read_listing(file)
    chosen = _encoding(data, encoding)
    try:
        text = data.decode(chosen)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(chosen, "replace")
        raise LosaError(
            f"{file}, line {_line(before)}: byte 0x{data[error.start]:02x} is not "
            f"{_NAMES.get(chosen, chosen)}. Save the file as UTF-8, or name its encoding: {_advice(encoding)}"
        ) from None
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise LosaError(
            f"{file}, line {_line(text.partition(chr(0))[0])}: holds a NUL character, which no text has. If "
            "it is UTF-16 without a byte order mark: dataset.encoding=utf-16-le"
        )
    return text


def first_line(file: Path, encoding: str | None) -> str:
    """The first line that is not blank, with a substitute for what cannot be decoded; empty if there is none.

    Raises:
        LosaError: there is no such file or no such encoding.
    """
    data = read_listing(file, _HEAD)
    text = data.decode(_encoding(data, encoding), "replace").removeprefix("\ufeff")
    return next((line for line in split_lines(text) if line.strip(" \t")), "")


def split_lines(text: str) -> list[str]:
    r"""Lines, which only \n, \r and \r\n end: names of files may hold what Unicode calls a line break.

    >>> split_lines("a\r\nb\x85\n")
    ['a', 'b\x85', '']
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_listing(file: Path, most: int = -1) -> bytes:
    """The bytes of a file that lists images, or its first ones.

    Raises:
        LosaError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError as error:
        raise LosaError(f"{file} cannot be read: {error.strerror}") from None


def _encoding(data: bytes, chosen: str | None) -> str:
    if chosen is None:
        return next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        if codecs.lookup(chosen).name in _NOT_OF_FILES:
            raise LookupError
        "".encode(chosen)
    except (LookupError, ValueError):
        raise LosaError(
            f"dataset.encoding={chosen}: there is no such encoding; usual ones are utf-8, latin-1, cp1252, "
            "utf-16, gb18030 and shift_jis"
        ) from None
    return chosen


def _line(before: str) -> int:
    """The number of the line that begins or goes on after some text."""
    return len(split_lines(before))


def _advice(chosen: str | None) -> str:
    if chosen is None:
        return "dataset.encoding=latin-1, or another one"
    return f"dataset.encoding={chosen} is not it"
