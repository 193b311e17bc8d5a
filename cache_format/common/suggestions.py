"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest a known name similar to ``name``, as the end of a sentence; empty if none is similar.

    >>> nearest("rnk", ["rank", "lr"])
    "; did you mean 'rank'?"
    >>> nearest("zzz", ["rank", "lr"])
    ''
    """
    matches = get_close_matches(name, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
