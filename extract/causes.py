"""Errors of other libraries as part of a message."""


def short_cause(error: Exception) -> str:
    """Kind and text of an error on one line, at most 400 characters of text.

    >>> short_cause(ValueError("no such   file"))
    'ValueError: no such file'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}{'...' if len(text) > 400 else ''}"
