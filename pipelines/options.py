"""The options of a command: names and types, from the dataclass that its configuration becomes."""

from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Option:
    """What an option may be given."""

    text: bool
    """Whether it takes a text or texts, and no number or truth value."""
    list: bool
    """Whether it takes a list."""
    mapping: bool
    """Whether it takes a mapping."""
    null: bool
    """Whether it takes null."""


def options_of(schema: type[Any], prefix: str = "") -> dict[str, Option]:
    """All options of a dataclass, by name; the names of nested options have dots.

    >>> from losa.extract.config import ExtractConfig
    >>> list(options_of(ExtractConfig))[:3]
    ['dataset', 'dataset.kind', 'dataset.name']
    """
    options = {}
    hints = get_type_hints(schema)
    for field in fields(schema):
        hint, name = hints[field.name], prefix + field.name
        kinds = _kinds(hint)
        options[name] = Option(
            text=str in kinds and kinds.isdisjoint({int, float, bool}),
            list=list in kinds,
            mapping=dict in kinds,
            null=NoneType in kinds,
        )
        for group in (hint, *get_args(hint)):  # a group that may be left out is one of two types
            if is_dataclass(group):
                options |= options_of(group, f"{name}.")  # type: ignore[arg-type]
    return options


def unknown_option(name: str, known: list[str]) -> str:
    """The message for an option that does not exist, with the nearest known one.

    >>> unknown_option("rnk", ["rank", "lr"])
    "there is no option 'rnk'; did you mean 'rank'?"
    >>> unknown_option("backbone.x", ["backbone", "backbone.name", "backbone.seed"])
    "there is no option 'backbone.x'; backbone has: name, seed"
    >>> unknown_option("backbone", ["backbone", "backbone.name", "backbone.seed"])
    'backbone=...: there are no presets to choose from; its options are backbone.name, backbone.seed'
    >>> unknown_option("dataset.tasks", ["dataset.tasks"])
    "the chosen dataset has no option 'dataset.tasks': leave it out, or choose another dataset=..."
    """
    group, dot, leaf = name.rpartition(".")
    inside = [option for option in known if option.startswith(f"{name}.")]
    if name in known and inside:
        return f"{name}=...: there are no presets to choose from; its options are {', '.join(inside)}"
    if dot and name in known:  # of the dataclass, but not of the chosen configuration
        return f"the chosen {group} has no option {name!r}: leave it out, or choose another {group}=..."
    siblings = {_leaf(option): option for option in known if option.rpartition(".")[0] == group}
    if dot and siblings:
        found = [siblings[close] for close in get_close_matches(leaf, siblings, n=1)]
        if not found:
            return f"there is no option {name!r}; {group} has: {', '.join(siblings)}"
    else:
        by_leaf = {_leaf(option): option for option in known}
        found = get_close_matches(name, [one for one in known if not name.startswith(f"{one}.")], n=1)
        found = found or [by_leaf[close] for close in get_close_matches(leaf, by_leaf, n=1)]
    answer = f"did you mean {found[0]!r}?" if found else "--help lists them"
    return f"there is no option {name!r}; {answer}"


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _kinds(hint: Any) -> set[Any]:
    """The types that occur in a type hint: str, int, list, None, ..."""
    own = {hint} if get_origin(hint) is None else {get_origin(hint)}
    return own.union(*map(_kinds, get_args(hint)))
