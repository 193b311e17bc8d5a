"""Commands that take folders and files besides options: ``losa-predict runs/sweep photo.jpg top=3``."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig

from losa.cache_format import LosaError
from losa.pipelines.arguments import parsed_arguments
from losa.pipelines.command_line import run_command


def run_with_places(
    config_name: str,
    schema: type[Any],
    task: Callable[[DictConfig, list[str]], Any],
) -> None:
    """Run a command that takes folders, files and patterns besides its options; see `run_command`.

    Args:
        config_name: name of the primary configuration in losa.conf.
        schema: dataclass of the options, for suggestions.
        task: called with the composed configuration and the places.
    """
    try:
        places, options = split_places(sys.argv[1:])
    except LosaError as error:
        sys.exit(f"error: {error}")

    def task_on_places(composed: DictConfig) -> Any:
        return task(composed, places)

    run_command(config_name, schema, task_on_places, arguments=options)


def split_places(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that are folders, files or patterns, and the others, which are options and flags.

    What has an equals sign is an option, unless there is such a file.

    Args:
        arguments: the arguments of the command, without its name.

    Raises:
        LosaError: a flag lacks its value, or asks for a sweep, which these commands do not run.
    """
    found, _ = parsed_arguments(arguments)
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
    if argument.startswith(("~", "-")) and not argument.startswith("~/"):  # ~name removes an option
        return False
    return "=" not in argument or os.path.exists(argument)  # noqa: PTH110 -- Path.exists fails on long names
