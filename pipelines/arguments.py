"""The arguments of the Hydra commands, checked before Hydra reads them.

Hydra's grammar gives commas, brackets, quotes and other signs a meaning, refuses some, and takes ``10`` for a
number. Here an option that takes a text gets the text that was typed, or a message says what to type instead.
"""

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hydra._internal.utils import get_args_parser  # Hydra has no public name for it
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException

from losa.cache_format import LosaError
from losa.cache_format.common.suggestions import nearest
from losa.pipelines.options import Option, unknown_option
from losa.pipelines.shell_override import always_quoted, shell_override

_OVERRIDE = re.compile(r"(?P<mark>~|\+{0,2})(?P<name>[^=]*)(?P<equals>=?)(?P<value>.*)", re.DOTALL)
_COMMA = re.compile(r",(?![^\[]*\])")
"""A comma outside of brackets."""
_MODES = ("run", "multirun", "cfg", "info", "shell_completion")
"""Flags of Hydra's of which it takes one."""
_FOR_TEXT = "For this very text, type "
_HELP = "--help lists the options, which are given as name=value, without spaces around the equals sign"


class _Typed(NamedTuple):
    """An argument as it was typed."""

    mark: str
    """``+`` or ``++`` for an option to add, ``~`` for one to remove."""
    name: str
    equals: str
    value: str

    def __str__(self) -> str:
        return "".join(self)

    @property
    def as_text(self) -> str:
        """What to type in a shell for a value that is this very text."""
        return shell_override(self.mark + self.name, self.value)


def checked_arguments(arguments: Sequence[str], options: Mapping[str, Option]) -> list[str]:
    """The arguments to pass on to Hydra.

    Args:
        arguments: the arguments of the command, without its name.
        options: the options of the command, by name.

    Returns:
        The options first, then Hydra's flags, because Hydra refuses options on both sides of a flag. Texts
        that Hydra would take for something else are quoted.

    Raises:
        LosaError: an argument cannot be read, or would mean something else than it says, or flags contradict
            each other.
    """
    found, unknown = parsed_arguments(arguments)
    if unknown:
        raise LosaError(_unknown_flag(unknown[0], options))
    modes = [f"--{name}" for name in _MODES if getattr(found, name)]
    if len(modes) > 1:
        raise LosaError(
            f"{' and '.join(modes)}: expected one of them; --cfg, --info and --shell_completion run nothing"
        )
    # hydra.mode may ask for a multirun, too, and search=... does.
    sweeps = found.multirun or any(one.startswith(("hydra.mode=", "search=")) for one in found.overrides)
    flags, checked = list(arguments), []
    before: list[_Typed] = []
    for override in found.overrides:
        flags.remove(override)
        match = _OVERRIDE.fullmatch(override)
        assert match is not None, override
        typed = _Typed(**match.groupdict())
        checked.append(_checked(typed, before, options, sweeps=sweeps))
        before.append(typed)
    return [*checked, *flags]


def parsed_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags and what stands beside them, ``overrides``; and the flags that Hydra does not know.

    Raises:
        LosaError: a flag lacks its value.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        return parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        raise LosaError(f"{error}; --hydra-help explains the flags") from None


def _checked(typed: _Typed, before: Sequence[_Typed], options: Mapping[str, Option], *, sweeps: bool) -> str:
    """An option as Hydra is to read it; ``before`` has the options before it."""
    mark, name, equals, value = typed
    option = options.get(name)
    if name.startswith("-"):  # with a space in it, argparse takes it for no flag
        raise LosaError(_unknown_flag(str(typed), options))
    if mark.startswith("+") and any(known.startswith(f"{name}.") for known in options):
        raise LosaError(f"{typed}: there is one already; to choose another, type {name}={value}")
    if mark == "~" and option is not None:
        raise LosaError(f"{typed}: an option cannot be removed; give it another value, {name}=...")
    if not name or (not equals and mark != "~"):
        raise LosaError(_no_override(typed, before))
    for other in before:
        if option is not None and other.name == name and other.value != value:
            raise LosaError(f"{name} is given twice, as {other} and as {typed}: leave one of them out")
    try:
        read = OverridesParser.create().parse_override(str(typed)).value()
    except HydraException as error:
        raise LosaError(_unreadable(typed, option, list(options), error)) from None
    if isinstance(read, ChoiceSweep) and read.simple_form and not sweeps:
        raise LosaError(_unasked_sweep(typed, option))
    if option is None or not option.text:
        return str(typed)
    _refuse_other_than_text(typed, read, option)
    if isinstance(read, str) and "${" not in read and read == value.strip(" \t") != value:
        return f"{mark}{name}={always_quoted(value)}"  # Hydra drops spaces at both ends
    return f"{mark}{name}={_as_typed(value, read)}"


def _refuse_other_than_text(typed: _Typed, read: object, option: Option) -> None:
    """Refuse a value that Hydra takes for something that an option for texts does not take."""
    if read == "":
        raise LosaError(f"{typed} is empty: give it a value, or leave it out for the default")
    meaning = ""
    if isinstance(read, dict) and not option.mapping:
        meaning = "a mapping"
    elif isinstance(read, list) and not option.list:
        meaning = "a list"
    elif read is None and not option.null:
        meaning = "no value"
    if meaning:
        raise LosaError(f"{typed} means {meaning}. {_FOR_TEXT}{typed.as_text}")


def _as_typed(value: str, read: object) -> str:
    """A value with quotes around each text that Hydra takes for a number or a truth value.

    Args:
        value: a text, a list, or a sweep, as it was typed.
        read: what Hydra takes it for.
    """
    if isinstance(read, bool | int | float):
        return always_quoted(value.strip())
    if isinstance(read, list):
        begin, inside, end, items = "[", value.strip()[1:-1], "]", read
    elif isinstance(read, ChoiceSweep) and read.simple_form:
        begin, inside, end, items = "", value, "", read.list
    else:
        return value
    parts = _COMMA.split(inside)
    if len(parts) != len(items):  # some commas are inside quotes
        return value
    return begin + ",".join(map(_as_typed, parts, items)) + end


def _unreadable(typed: _Typed, option: Option | None, known: list[str], error: HydraException) -> str:
    mark, name, _, value = typed
    if name.strip() in known and name != name.strip():
        return f"{str(typed)!r}: type it without spaces, {name.strip()}={value.strip()}"
    if not re.fullmatch(r"[\w.@/$:-]*", name, re.ASCII):
        return unknown_option(name, known)
    if option is None:
        reason = str(error).partition("\nSee")[0]
        return f"{typed}: Hydra cannot read this value ({reason})"
    signs = "commas, brackets, quotes, '=', '~', '#' and other signs have a meaning here"
    lines = [f"{typed}: cannot be read, because {signs}."]
    if option.text:
        lines.append(_FOR_TEXT + typed.as_text)
    if value.rstrip().endswith(",") or value.count("[") > value.count("]"):
        example = shlex.quote(f"{mark}{name}=[a,b]") if option.list else f"{mark}{name}=a,b"
        lines.append(f"Lists and sweeps are typed without spaces: {example}")
    return "\n".join(lines)


def _unasked_sweep(typed: _Typed, option: Option | None) -> str:
    lines = [f"{typed}: commas separate the values of a sweep, which -m runs: one job for each value."]
    if option is not None and option.list:
        listed = typed._replace(value=f"[{typed.value}]")
        lines.append(f"For a list, type {shlex.quote(str(listed))}")
    if option is not None and option.text:
        lines.append(_FOR_TEXT + typed.as_text)
    return "\n".join(lines)


def _no_override(typed: _Typed, before: Sequence[_Typed]) -> str:
    message = f"expected name=value, found {str(typed)!r}; {_HELP}"
    if typed.name and before and before[-1].value:
        whole = before[-1]._replace(value=f"{before[-1].value} {typed}")
        message += f". If it belongs to {before[-1]}, type {whole.as_text}"
    return message


def _unknown_flag(flag: str, options: Mapping[str, Option]) -> str:
    name, _, value = flag.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if name in options:
        example = shell_override(name, value) if value else f"{name}=..."
        return f"{flag}: options are given without dashes, {example}"
    return f"there is no flag {flag}; {_HELP}{nearest(name, options)}"
