"""Errors in words for people."""

import errno

from losa.cache_format import LosaError


def for_people(error: BaseException) -> str | None:
    """The message of an error that is not a bug of ours, in one paragraph; None for any other."""
    if isinstance(error, LosaError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return str(error.strerror)  # a write names no file
    return None
