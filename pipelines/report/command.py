"""The command losa-report."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from losa.cache_format import LosaError
from losa.pipelines.plain_text import visible
from losa.pipelines.report.efficiency.command import efficiency
from losa.pipelines.tool import make_tool, run_tool

_PAGE = "page"
"""The subcommand that need not be named."""

tool = make_tool(
    "Write one HTML page for sweeps and benchmarks: `losa-report RUNS...` is short for `losa-report page "
    "RUNS...`."
)


class _PageByDefault(TyperGroup):
    """Takes what is no subcommand for the arguments of `page`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = not args or args[0] in self.commands or args[0] in self.get_help_option_names(ctx)
        return super().parse_args(ctx, args if named else [_PAGE, *args])


@tool.callback(cls=_PageByDefault)
def _report() -> None:
    pass


@tool.command(_PAGE)
def page(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="folders of sweeps (losa-adapt) and of benchmarks (losa-bench)"),
    ],
    out: Annotated[
        Path | None, typer.Option(help="the file to write [default: report.html in the first folder]")
    ] = None,
) -> None:
    """Write a page that needs no server and no network: what won, what failed, plots and a table."""
    raise LosaError(f"{visible(runs[0])}: not yet {out}")


tool.command()(efficiency)


def main() -> None:
    """Entry point."""
    run_tool(tool)
