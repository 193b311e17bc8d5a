"""Commands that take folders and files besides options: ``losa-predict runs/sweep photo.jpg top=3``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser  # Hydra has no public name for it

from losa.cache_format import LosaError


def split_places(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that are folders, files or patterns, and the others, which are options and flags.

    What has an equals sign is an option, unless there is such a file.

    Args:
        arguments: the arguments of the command, without its name.

    Raises:
        LosaError: a flag lacks its value.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        found, _ = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        raise LosaError(f"{error}; --hydra-help explains the flags") from None
    places = [argument for argument in found.overrides if _is_place(argument)]
    others = list(arguments)
    for place in places:
        others.remove(place)
    return places, others


def _is_place(argument: str) -> bool:
    if argument.startswith(("~", "-")):
        return False
    return "=" not in argument or Path(argument).exists()
