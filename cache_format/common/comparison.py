"""Field-by-field comparison of two records."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from losa.cache_format.errors import Difference


def differences(expected: object, found: object) -> list[Difference]:
    """All leaves in which two records (dataclasses or JSON values) differ, in the order of the fields."""
    left, right = dict(_leaves("", expected)), dict(_leaves("", found))
    absent = "nothing"
    return [
        Difference(field, left.get(field, absent), right.get(field, absent))
        for field in dict.fromkeys([*left, *right])
        if left.get(field, absent) != right.get(field, absent)
    ]


def listed(found: Iterable[Difference]) -> str:
    """Differences, a line each: what was expected, and what was found."""
    return "\n".join(f"  {field}: expected {ours}, found {theirs}" for field, ours, theirs in found)


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)  # type: ignore[call-overload]  # checked the line above
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for index, item in enumerate(value):
            yield from _leaves(f"{path}[{index}]", item)
    else:
        yield path, value
