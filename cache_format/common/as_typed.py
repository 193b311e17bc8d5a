"""Values of options as they are typed on the command line."""

from typing import Any


def as_typed(value: Any) -> str:
    """A value as it is typed.

    >>> as_typed(None), as_typed(True), as_typed([1, None]), as_typed("a")
    ('null', 'true', '[1,null]', 'a')
    """
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
