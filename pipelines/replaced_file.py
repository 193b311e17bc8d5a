"""Where a command may write a file: not in place of what a user has there that no such command wrote."""

import os
from collections.abc import Callable
from pathlib import Path

from losa.cache_format import LosaError
from losa.pipelines.writable_output import refuse_unwritable

_BEGINNING = 4096
"""Bytes by which a file is judged."""


def refuse_other_file(option: str, path: Path, is_own: Callable[[bytes], bool], kind: str) -> None:
    """Refuse a folder, to replace a file of another kind, and a file that cannot be written.

    Args:
        option: the option that names the file, as it is typed: ``out=``.
        path: a file, which need not exist.
        is_own: whether a file that begins in this way may be replaced; an empty one always may.
        kind: what the command writes, for the message.

    Raises:
        LosaError: there is a folder or a file of another kind, or nothing can be written there.
    """
    if os.path.isdir(path):  # noqa: PTH112 -- Path.is_dir fails on a name that is too long
        raise LosaError(f"{option}{path}: expected the name of a file, found a folder")
    refuse_unwritable(option, path)
    if not path.is_file():
        return
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    if beginning and not is_own(beginning):
        raise LosaError(
            f"{option}{path}: expected no file or {kind}, found another file, which would be replaced: "
            "choose another name, or remove that file first"
        )


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
