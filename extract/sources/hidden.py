"""Which files are hidden: those that systems, editors and archivers keep beside the data."""

HIDDEN_FOLDERS = ("__MACOSX", "@eaDir")
"""Folders in which archivers and file servers keep copies of their own."""


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden.

    >>> is_hidden("cat/._1.jpg"), is_hidden("__MACOSX/cat/1.jpg"), is_hidden("cat/1.jpg")
    (True, True, False)
    """
    return any(part.startswith(".") or part in HIDDEN_FOLDERS for part in path.split("/"))
