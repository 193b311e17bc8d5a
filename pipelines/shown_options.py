"""Values of options as text, and which options of a sweep differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from losa.adapt.config import WHEREABOUTS
from losa.cache_format.common.as_typed import as_typed

SEEDS = ("seed", "data_seed")


def shown(value: Any, *, short: bool = True) -> str:
    """An option's value for a table: as it is typed, but for nothing in place of ``null``, and short numbers.

    >>> shown(1 / 3), shown(1 / 3, short=False), shown(["embed", 2]), shown(True), shown(None)
    ('0.333333', '0.3333333333333333', '[embed,2]', 'true', '')

    Args:
        value: a value of JSON.
        short: whether six digits are enough.
    """
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return f"[{','.join(shown(item, short=short) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}" if short else repr(value).removesuffix(".0")
    return as_typed(value)


def varying_options(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of options that differ between the members that have them, if they can change a result."""
    names = dict.fromkeys(name for options in members for name in options if name not in WHEREABOUTS)
    values: dict[str, set[str]] = {name: set() for name in names}
    for options in members:
        for name in names.keys() & options.keys():
            values[name].add(shown(options[name], short=False))
    return [name for name in names if len(values[name]) > 1]
