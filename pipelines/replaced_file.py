"""Where a command may write a file: not in place of what a user has there that no such command wrote."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from losa.cache_format import LosaError
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX

_BEGINNING = 4096
"""Bytes by which a file is judged."""


def refuse_other_file(option: str, path: Path, is_own: Callable[[bytes], bool], kind: str) -> None:
    """Refuse a folder, to replace a file of another kind, and where no file can be written.

    Args:
        option: the option that names the file, as it is typed: ``out=``.
        path: a file, which need not exist.
        is_own: whether a file that begins in this way may be replaced; an empty one always may.
        kind: what the command writes, for the message.

    Raises:
        LosaError: there is a folder, or a file of another kind, or nothing can be written there.
    """
    refuse_unwritable(option, path)
    if path.is_dir():
        raise LosaError(f"{option}{path}: expected the name of a file, found a folder")
    if not path.is_file():
        return
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if beginning and not is_own(beginning):
        raise LosaError(
            f"{option}{path}: expected no file or {kind}, found another file, which would be replaced: "
            "choose another name, or remove that file first"
        )


def refuse_unwritable(option: str, path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed for it.

    The nearest folder that exists is tried with a temporary file.

    Args:
        option: the option that names the file or its folder, as it is typed: ``out=``.
        path: the file, whose folders need not exist.

    Raises:
        LosaError: it cannot be written.
    """
    try:
        folder = next(parent for parent in path.parents if parent.exists())
        *folders, name = path.relative_to(folder).parts
        for each in (*folders, name + TEMPORARY_SUFFIX):
            with suppress(FileNotFoundError):
                (folder / each).lstat()  # fails if the name is too long
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LosaError(f"{option}{path}: nothing can be written there ({error.strerror})") from None


def refuse_missing_folder(option: str, path: Path) -> None:
    """Refuse a file whose folder does not exist.

    Args:
        option: the option that names the file, as it is typed: ``out=``.
        path: the file.

    Raises:
        LosaError: there is no such folder.
    """
    if not path.parent.is_dir():
        raise LosaError(f"{option}{path}: there is no folder {path.parent}: create it first")


def is_text(beginning: bytes) -> bool:
    """Whether a file that begins in this way is a text."""
    return b"\0" not in beginning
