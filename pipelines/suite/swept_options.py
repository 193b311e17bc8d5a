"""The options of losa-adapt that a suite tries: as they are typed, in the configuration, and as a grid."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.arguments import checked_arguments, parsed_arguments
from losa.pipelines.options import options_of, unknown_option
from losa.pipelines.shell_override import always_quoted
from losa.pipelines.suite.config import SuiteConfig

GROUP = "sweep"
"""The option of a suite that holds these options."""

_SET_BY_THE_SUITE = {
    "cache": "every task has a cache of its own, below out=...",
    "label": "every task has one label column",
    "seed": "seeds=... says how many",
    "data_seed": "seeds=... says how many",
    "views": "the protocol has no augmentation",
    "overwrite": "another out=... begins anew",
    "tracker": "losa-adapt has it",
    "engine": "losa-adapt has it",
    "protocol": "the protocol is fixed",
    "train_split": "the protocol is fixed",
    "eval_split": "the protocol is fixed",
    "select_train_split": "the protocol is fixed",
    "select_split": "the protocol is fixed",
}
"""Option of losa-adapt -> why a suite does not take it."""
_OWN = options_of(SuiteConfig)
_TRAINING = options_of(AdaptConfig)
SWEPT = tuple(
    name for name in _TRAINING if name not in _OWN and name.partition(".")[0] not in _SET_BY_THE_SUITE
)
"""Names of the options of losa-adapt that a suite takes."""


def gathered(arguments: Sequence[str]) -> list[str]:
    """The arguments for Hydra, with the options of losa-adapt gathered in the group that holds them.

    >>> gathered(["root=vtab", "rank=4,8", "plan=true"])
    ['root=vtab', 'plan=true', '++sweep.rank="4,8"']

    Args:
        arguments: the arguments of the command, without its name.

    Raises:
        LosaError: an option does not exist, is not for a suite, or cannot be read.
    """
    found, _ = parsed_arguments(arguments)
    if found.multirun:
        raise LosaError(
            "-m, --multirun: leave it out; this command tries all combinations of rank=4,8 lr=1e-3,3e-3"
        )
    rest = list(arguments)
    training = []
    for override in found.overrides:
        name = override.lstrip("+~").partition("=")[0].removeprefix(f"{GROUP}.")
        if _is_of_losa_adapt(name):
            rest.remove(override)
            training.append(override.removeprefix(f"{GROUP}."))
    checked = checked_arguments([*training, "--multirun"], _TRAINING)[:-1]
    named = (option.lstrip("+").partition("=") for option in checked)
    return [*rest, *(f"++{GROUP}.{name}={always_quoted(value)}" for name, _, value in named)]


def grid(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values of some options.

    >>> grid({"side": "losa", "rank": "4,8"})
    [{'side': 'losa', 'rank': 4}, {'side': 'losa', 'rank': 8}]

    Args:
        sweep: option of losa-adapt -> its value, or a text of values as on a command line.

    Raises:
        LosaError: an option is not for a suite, or its values cannot be read.
    """
    for name in sweep:
        if not _is_of_losa_adapt(name):
            raise LosaError(f"{GROUP}.{name}: {unknown_option(name, list(SWEPT))}")
    values = [_values(name, given) for name, given in sweep.items()]
    return [dict(zip(sweep, point, strict=True)) for point in product(*values)]


def _is_of_losa_adapt(name: str) -> bool:
    """Whether a name is one of `SWEPT`, and not one of the suite's own.

    Raises:
        LosaError: it is neither, or a suite does not take it.
    """
    if name in SWEPT:
        return True
    if name in _OWN or name.startswith(("hydra.", "hydra/")) or "=" in name or not name:
        return False
    if (reason := _SET_BY_THE_SUITE.get(name.partition(".")[0])) is not None:
        raise LosaError(f"{name}=...: not an option here: {reason}")
    raise LosaError(unknown_option(name, [*_OWN, *SWEPT]))


def _values(name: str, given: Any) -> list[Any]:
    if not isinstance(given, str):
        return [given]
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(f"{name}={given}")
        if not override.is_sweep_override():
            return [override.value()]
        texts = list(override.sweep_string_iterator())
    except HydraException as error:
        reason = str(error).partition("\nSee")[0]
        raise LosaError(
            f"{name}={given}: expected a value, or values with commas between them ({reason})"
        ) from None
    return [parser.parse_override(f"{name}={text}").value() for text in texts]
