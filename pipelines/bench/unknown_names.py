"""Refuses names on the command line that stand for nothing."""

from collections.abc import Collection, Iterable

from losa.cache_format import LosaError
from losa.cache_format.common.suggestions import nearest


def refuse_unknown(option: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse unknown names.

    Args:
        option: the option as it is typed, such as ``--side``.
        names: its values.
        known: the values that it may have.

    Raises:
        LosaError: a name is unknown; the message lists those that are known.
    """
    for name in names:
        if name not in known:
            raise LosaError(f"{option} {name}: expected one of {', '.join(known)}{nearest(name, known)}")
