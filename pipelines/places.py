"""Commands that take folders and files besides options: ``losa-predict runs/sweep photo.jpg top=3``."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser  # Hydra has no public name for it
from omegaconf import DictConfig

from losa.cache_format import LosaError
from losa.pipelines.command_line import run_command


def run_with_places(
    config_name: str,
    schema: type[Any],
    task: Callable[[DictConfig, list[str]], Any],
    *,
    resumes: bool = True,
) -> None:
    """Run a command that takes folders, files and patterns besides its options; see `run_command`.

    Args:
        config_name: name of the primary configuration in losa.conf.
        schema: dataclass of the options, for suggestions.
        task: called with the composed configuration and the places.
        resumes: whether the command, run again after an interruption, goes on where it was.
    """
    try:
        places, options = split_places(sys.argv[1:])
    except LosaError as error:
        sys.exit(f"error: {error}")

    def task_on_places(composed: DictConfig) -> Any:
        return task(composed, places)

    run_command(config_name, schema, task_on_places, arguments=options, resumes=resumes)


def split_places(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that are folders, files or patterns, and the others, which are options and flags.

    What has an equals sign is an option, unless there is such a file.

    Args:
        arguments: the arguments of the command, without its name.

    Raises:
        LosaError: a flag lacks its value, or asks for a sweep, which these commands do not run.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        found, _ = parser.parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        raise LosaError(f"{error}; --hydra-help explains the flags") from None
    if found.multirun:
        raise LosaError(
            "-m, --multirun: this command is no sweep; it takes several folders and files at once"
        )
    places = [argument for argument in found.overrides if _is_place(argument)]
    others = list(arguments)
    for place in places:
        others.remove(place)
    return places, others


def _is_place(argument: str) -> bool:
    if argument.startswith(("~", "-")):
        return False
    return "=" not in argument or Path(argument).exists()
