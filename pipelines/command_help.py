"""Help of the Hydra commands, made from the configuration files. Quick, because it imports nothing heavy."""

import re
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable


def is_help_requested() -> bool:
    """Whether the command line has ``-h`` or ``--help``."""
    return any(argument in ("-h", "--help") for argument in sys.argv[1:])


def help_text(config_name: str, *, sweeps: bool = True) -> str:
    """The options of a command with their comments in the configuration file, and the choices of its groups.

    Args:
        config_name: name of the primary configuration in losa.conf.
        sweeps: whether the command runs sweeps.
    """
    root = files("losa.conf")
    text = root.joinpath(f"{config_name}.yaml").read_text(encoding="utf-8")
    options = text[: text.index("\nhydra:")]
    title, _, rest = options.partition("\n")
    defaults, _, options = rest.partition("\n\n")
    lines = [title.removeprefix("# "), "", "Options, with their defaults:", ""]
    lines += [f"  {line}" if line else "" for line in options.splitlines()]
    for group in re.findall(r"^  - (\w+): ", defaults, re.MULTILINE):
        lines += ["", f"{group}=... chooses one of: {', '.join(group_choices(group))}"]
    lines += [
        "",
        "Options are given as name=value"
        + ("; -m or --multirun with name=value,value runs every combination." if sweeps else "."),
        "A text with commas, brackets, quotes, '=' or other signs is quoted twice: "
        "'name=\"my photos (1), v=2\"'.",
        "--cfg job prints the composed configuration; --hydra-help explains what Hydra adds.",
    ]
    return "\n".join(lines)


def group_choices(group: str) -> list[str]:
    """Sorted names of the choices of a configuration group; a choice in a folder is ``<folder>/<name>``."""
    return sorted(_names(files("losa.conf").joinpath(group)))


def _names(folder: Traversable, prefix: str = "") -> list[str]:
    if not folder.is_dir():
        return []
    names = []
    for entry in folder.iterdir():
        if entry.is_dir():
            names.extend(_names(entry, f"{prefix}{entry.name}/"))
        elif entry.name.endswith(".yaml"):
            names.append(prefix + entry.name.removesuffix(".yaml"))
    return names
