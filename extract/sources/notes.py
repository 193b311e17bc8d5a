"""Words for what a source tells its user."""

from collections.abc import Sequence


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Names in a line, of which only the first are written out.

    >>> shortened(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"
