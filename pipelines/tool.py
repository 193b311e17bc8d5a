"""What the commands share that are tools with subcommands: plain words and honest exit codes."""

import os
import signal
import sys
from typing import NoReturn

import typer

TRACEBACK = "LOSA_TRACEBACK"
"""Environment variable: with it, errors keep their traceback."""


def make_tool(help_text: str) -> typer.Typer:
    """An empty tool; its subcommands are added with ``@tool.command()``."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run_tool(tool: typer.Typer) -> NoReturn:
    """Run a tool as a command.

    Errors meant for people are printed as they are, with exit code 1; anything else is a bug of ours and
    keeps its traceback.
    """
    try:
        tool()
    except Exception as error:
        from losa.pipelines.messages import for_people  # slow to import, and help has no need of it

        message = for_people(error)
        if message is None or TRACEBACK in os.environ:
            raise
        sys.exit(f"error: {message}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    sys.exit(0)
