"""Runs the Hydra commands: errors in plain words, honest exit codes."""

import contextlib
import json
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from losa.cache_format import LosaError
from losa.cache_format.common.as_typed import as_typed
from losa.cache_format.common.suggestions import nearest
from losa.pipelines.arguments import checked_arguments
from losa.pipelines.command_help import group_choices
from losa.pipelines.job_failure import JobFailure
from losa.pipelines.messages import for_people
from losa.pipelines.options import options_of, unknown_option
from losa.pipelines.plain_text import visible
from losa.pipelines.shell_override import shell_override

Config = TypeVar("Config")
_log = logging.getLogger(__name__)
_GROUPS = ("dataset", "backbone", "engine", "search")
_FULL_ERROR = "HYDRA_FULL_ERROR"
_MOST_TOLD = 10
"""Number of different errors of a multirun that are told."""


def run_command(
    config_name: str,
    schema: type[Any],
    task: Callable[[DictConfig], Any],
    conclude: Callable[[], None] = lambda: None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Run a Hydra application as a command.

    Errors meant for people are printed without a traceback, with exit code 1; any other error is a bug in
    losa and keeps its traceback. In a multirun a failed job does not stop the others; failed jobs are
    listed at the end, those that failed for the same reason once.

    Args:
        config_name: name of the primary configuration in losa.conf.
        schema: dataclass of the options, for suggestions.
        task: function that runs one job; it is called with the composed configuration.
        conclude: called once after the last job, unless all jobs failed.
        arguments: the options and flags; None for all arguments of the command.
        resumes: whether the command, run again after an interruption, goes on where it was.
    """
    # Hydra would print its own abridged traceback and exit; this makes it raise instead.
    wants_traceback = _FULL_ERROR in os.environ
    os.environ[_FULL_ERROR] = "1"
    options = options_of(schema)
    process = os.getpid()
    jobs = 0
    failures: dict[str, list[str]] = {}  # reason -> the jobs that failed for it

    @wraps(task)
    def guarded(composed: DictConfig) -> Any:
        nonlocal jobs
        jobs += 1
        try:
            # So that relative paths mean the same with hydra.job.chdir=true.
            with contextlib.chdir(HydraConfig.get().runtime.cwd):
                return task(composed)
        except (LosaError, OSError) as error:
            message = for_people(error)
            if message is None:
                raise
            if HydraConfig.get().mode is not RunMode.MULTIRUN:
                if wants_traceback:
                    raise
                sys.exit(visible(f"error: {message}"))
            # In a worker process of a launcher: only the launcher can count the failures, so raise.
            if os.getpid() != process:
                raise
            told = len(failures)
            failed = failures.setdefault(message, [])
            failed.append(" ".join(HydraConfig.get().overrides.task))
            if told < len(failures) <= _MOST_TOLD:
                _log.error("failed: %s: %s", failed[0], message, exc_info=wants_traceback)
            return JobFailure(message)

    application = hydra.main(version_base="1.3", config_path="pkg://losa.conf", config_name=config_name)(
        guarded
    )
    typed = sys.argv
    arguments = typed[1:] if arguments is None else arguments
    try:
        # Hydra reads them from there, and from nowhere else.
        sys.argv = [typed[0], *checked_arguments(arguments, options)]
        with _raised_callbacks():
            application()
        if sum(map(len, failures.values())) < jobs:
            conclude()
    except (LosaError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        sys.exit(visible(f"error: {explain(error, list(options))}"))
    except BrokenPipeError:
        raise
    except OSError as error:
        message = for_people(error)
        if wants_traceback or message is None:
            raise
        sys.exit(visible(f"error: {message}"))
    finally:
        sys.argv = typed
        if not wants_traceback:
            os.environ.pop(_FULL_ERROR, None)
    if failures:
        sys.exit(visible(_failed_jobs(failures, jobs)))


@contextlib.contextmanager
def _raised_callbacks() -> Iterator[None]:
    """A context in which an error of a callback ends the command. Hydra would warn, and go on without it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", r"Callback \S+ raised ", UserWarning)
        try:
            yield
        except UserWarning as warned:
            if isinstance(warned.__context__, Exception):
                raise warned.__context__ from None
            raise


def _failed_jobs(failures: Mapping[str, Sequence[str]], jobs: int) -> str:
    """The end of a multirun in which jobs failed: a line for each reason, with the first job of it."""
    lines = []
    for message, failed in list(failures.items())[:_MOST_TOLD]:
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        lines.append(f"{failed[0]}{others}: {message}")
    if len(failures) > len(lines):
        lines.append(f"and {len(failures) - len(lines)} more for other reasons")
    count = sum(map(len, failures.values()))
    return "\n  ".join([f"error: {count} of {jobs} jobs failed:", *lines])


def to_config(schema: type[Config], config: DictConfig) -> Config:
    """Convert a composed configuration to its dataclass; Hydra's own part of it is left out.

    Raises:
        LosaError: options are missing, unknown, or of the wrong type or range; all of them are listed.
    """
    try:
        values = _resolved(config)
    except MissingMandatoryValue as error:
        raise LosaError(f"{error.full_key}=... is missing and has no default") from None
    except OmegaConfBaseException as error:
        raise LosaError(_unresolved(error, config)) from None
    try:
        # From JSON: only there does strict mode accept a mapping for a dataclass and a list for a tuple.
        return TypeAdapter(schema).validate_json(json.dumps(values))
    except ValidationError as error:
        raise LosaError("\n".join(_problems(error, schema))) from None


def _resolved(config: DictConfig) -> Any:
    """The options as plain Python, without ``${...}`` and without Hydra's own part."""
    if "hydra" not in config:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    values = {}
    for name in config:
        if name != "hydra":
            value = config[name]
            is_config = OmegaConf.is_config(value)
            values[name] = (
                OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if is_config else value
            )
    return values


def explain(error: Exception, known: list[str]) -> str:
    """The message for an error; a misspelt option is answered with the nearest known one.

    Args:
        error: an error of losa, Hydra or OmegaConf.
        known: names of all options.
    """
    cause: BaseException | None = error
    while cause is not None:
        # Hydra wraps errors that are raised while it resolves the name of a folder.
        if isinstance(cause, LosaError | OSError) and (message := for_people(cause)) is not None:
            return message
        cause = cause.__cause__ or cause.__context__
    text = str(error).strip()
    misspelt = re.match(r"Could not override '((?!hydra[./])[^']+)'", text)
    if misspelt:
        return unknown_option(misspelt.group(1), known)
    unknown = re.match(r"(?:In '[^']+': )?Could not find '([^']+)/([^'/]+)'", text)
    if unknown and unknown.groups() == ("hydra/sweeper", "optuna"):
        return "hydra/sweeper=optuna needs further packages: pip install 'losa[optuna]'"
    if unknown and unknown[1].split("/")[0] in _GROUPS:
        group, name = unknown.groups()
        group, _, folder = group.partition("/")
        inner = f"{folder}/{name}" if folder else name
        choices = group_choices(group)
        return f"{group}={inner}: expected one of {', '.join(choices) or 'none'}{nearest(inner, choices)}"
    return text


def _unresolved(error: OmegaConfBaseException, config: DictConfig) -> str:
    """The message for ``${...}`` that refers to nothing."""
    value: Any = OmegaConf.to_container(config, resolve=False)
    for part in str(error.full_key).split("."):
        value = value.get(part) if isinstance(value, dict) else None
    message = (
        f"{error.full_key}: {str(error).splitlines()[0]}. ${{...}} stands for the value of another option, "
        "${oc.env:...} for an environment variable"
    )
    if isinstance(value, str):
        message += f". For this very text, type {shell_override(str(error.full_key), value)}"
    return message


def _problems(error: ValidationError, schema: type[Any]) -> list[str]:
    known = list(options_of(schema))
    lines: dict[str, list[str]] = {}
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        paths = [".".join(place[:length]) for length in range(len(place), 0, -1)]
        # For a union, pydantic appends the name of the alternative that it tried to the option's name.
        name = next((path for path in paths if path in known), paths[0] if paths else "")
        given = f"{name}={as_typed(problem['input'])}: "
        if problem["type"] == "value_error" and (not name or isinstance(problem["input"], dict)):
            # Options that contradict each other, or have no effect; the message names them.
            lines[str(problem["ctx"]["error"])] = []
        elif problem["type"] == "unexpected_keyword_argument":
            lines[unknown_option(".".join(place), known)] = []
        elif problem["type"] == "missing":
            lines[f"{name}=... is missing and has no default"] = []
        elif isinstance(problem["input"], dict):
            lines[unknown_option(f"{name}.{next(iter(problem['input']), '')}", known)] = []
        else:
            lines.setdefault(given, []).append(_expected(problem, name))
    return [given + "; or ".join(dict.fromkeys(expected)) for given, expected in lines.items()]


def _expected(problem: Any, name: str) -> str:
    """What an option of this name would take; of a union, what one of its alternatives would."""
    if problem["type"] == "list_type":
        return "expected a list, " + shlex.quote(f"{name}=[{problem['input']}]")
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
        count = "one of " if len(choices) > 1 else ""
        return f"expected {count}{', '.join(choices)}{nearest(str(problem['input']), choices)}"
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
