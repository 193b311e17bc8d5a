"""The command losa-report."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
        typer.Argument(
            metavar="RUN", help="folders of sweeps and members (losa-adapt), and of benchmarks (losa-bench)"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="the file to write [default: report.html in the first folder]")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="folder of a data set, to show its hardest images: the dataset.root of losa-extract; may be "
            "repeated",
        ),
    ] = None,
    hardest: Annotated[
        int,
        typer.Option(min=0, help="hardest images of each task; 0: nothing is judged again from the cache"),
    ] = 24,
    title: Annotated[
        str | None, typer.Option(help="title of the page [default: the names of the folders]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "auto",
) -> None:
    """Write a page that needs no server and no network.

    It says what won, by how much, and what failed; it draws accuracy against every cost, learning curves,
    confusions, the hardest images and the noise of the caches; and it has a table of everything.
    """
    from losa.cache_format.common.device import resolve_device
    from losa.pipelines.report.libraries import refuse_missing_libraries

    refuse_missing_libraries()
    from losa.pipelines.report.writing import write_page

    path = write_page(
        runs, out, image_folders=images or [], hardest=hardest, title=title, device=resolve_device(device)
    )
    print(visible(str(path)))


tool.command()(efficiency)


def main() -> None:
    """Entry point."""
    run_tool(tool)
