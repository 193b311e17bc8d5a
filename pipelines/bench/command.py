"""losa-bench: the command."""

import json
import math
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from losa.pipelines.tool import make_tool, run_tool

tool = make_tool("Measure on this machine: how fast caches are read, and what codecs cost and lose.")

AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]


@tool.command()
def reads(
    gigabytes: Annotated[float, typer.Option(help="least size of each cache, in 10^9 bytes")] = 1.0,
    codec: Annotated[
        list[str] | None, typer.Option(help="once for each codec [default: int8, float16]")
    ] = None,
    store: Annotated[list[str] | None, typer.Option(help="once for each store [default: zarr, hdf5]")] = None,
    batch: Annotated[int, typer.Option(help="images that are read at once")] = 64,
    rounds: Annotated[int, typer.Option(help="passes of every reader")] = 5,
    folder: Annotated[
        Path | None,
        typer.Option(help="where the caches of noise stay for the next time; they are read again"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read caches of noise in the shape of a ViT-B: losa, plain reads of the same bytes, and libraries.

    The caches are written first, one after the other, in a temporary folder. Every reader has to return
    the bytes that were written before it is timed.
    """
    from losa.pipelines.bench.machine import describe_machine
    from losa.pipelines.bench.reads import ReadBenchmark, render_reads

    defaults = ReadBenchmark()
    benchmark = ReadBenchmark(
        codecs=codec or defaults.codecs,
        stores=store or defaults.stores,
        gigabytes=gigabytes,
        batch=batch,
        rounds=rounds,
    )
    rows = benchmark.run(folder)
    if as_json:
        print(json.dumps({"rows": rows, "machine": describe_machine()}, indent=2))
    else:
        Console(soft_wrap=True).print(render_reads(rows, benchmark), highlight=False)


@tool.command()
def codecs(
    cache: Annotated[str, typer.Argument(metavar="CACHE", help="folder or URL of a cache of codec float32")],
    split: Annotated[str, typer.Option(help="which of its splits")],
    images: Annotated[int, typer.Option(help="how many to measure")] = 256,
    as_json: AsJson = False,
) -> None:
    """Tell what every codec costs and loses on the activations of a float32 cache."""
    from losa.pipelines.bench.codecs import codec_report, codec_table

    rows = codec_table(cache, split, images)
    if as_json:
        print(json.dumps({"rows": [_without_infinity(row) for row in rows]}, indent=2))
    else:
        width = max(110, shutil.get_terminal_size().columns)  # the table is as wide as that
        Console(soft_wrap=True, width=width).print(codec_report(rows), highlight=False)


def _without_infinity(value: Any) -> Any:
    """JSON has no infinity; what loses nothing has None as its signal-to-noise ratio."""
    if isinstance(value, dict):
        return {name: _without_infinity(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_infinity(item) for item in value]
    return None if value == math.inf else value


def main() -> None:
    """Entry point."""
    run_tool(tool)
