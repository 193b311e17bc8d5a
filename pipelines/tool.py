"""Runs the commands with subcommands, losa-cache and losa-bench: errors in plain words, honest exit codes."""

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from losa.pipelines.console_handler import ConsoleHandler
from losa.pipelines.ending import ending
from losa.pipelines.plain_text import PlainFormatter, visible

AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
"""The option ``--json`` of subcommands that report."""
TRACEBACK = "LOSA_TRACEBACK"
"""Name of the environment variable that makes errors keep their traceback."""


def make_tool(help_text: str) -> typer.Typer:
    """A command without subcommands yet; add them with ``@tool.command()``."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run_tool(tool: typer.Typer) -> NoReturn:
    """Run a command with subcommands, and exit.

    Errors meant for people are printed without a traceback, with exit code 1; any other error is a bug in
    losa and keeps its traceback.
    """
    log, handler = logging.getLogger("losa"), ConsoleHandler()
    handler.setFormatter(PlainFormatter())
    log.addHandler(handler)
    with ending():
        try:
            tool()
        except BrokenPipeError:
            raise
        except Exception as error:
            from losa.pipelines.messages import for_people  # slow to import, and help has no need of it

            message = for_people(error)
            if message is None or TRACEBACK in os.environ:
                raise
            sys.exit(visible(f"error: {message}"))
        finally:
            log.removeHandler(handler)
        sys.exit(0)
