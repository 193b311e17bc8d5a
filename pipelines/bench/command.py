"""The command losa-bench."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from losa.pipelines.bench.fused.command import fused
from losa.pipelines.bench.live.command import live
from losa.pipelines.bench.study.commands import ablations, accuracy, draw_directions, draw_scenes
from losa.pipelines.bench.video.commands import video, video_plan
from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.pretraining.command import pretrain
from losa.pipelines.tool import AsJson, make_tool, run_tool

tool = make_tool(
    "Measure the speed of extracting, reading, training and evaluating, the loss of codecs, and the accuracy "
    "of side networks and of what trains through the live backbone."
)


@tool.command()
def reads(
    gigabytes: Annotated[float, typer.Option(help="minimum size of each cache, in 10^9 bytes")] = 1.0,
    codec: Annotated[
        list[str] | None, typer.Option(help="codec of a cache; may be repeated [default: int8, float16]")
    ] = None,
    store: Annotated[
        list[str] | None, typer.Option(help="store of a cache; may be repeated [default: zarr, hdf5]")
    ] = None,
    batch: Annotated[int, typer.Option(help="images in a read")] = 64,
    rounds: Annotated[int, typer.Option(help="passes of every reader in each order")] = 5,
    folder: Annotated[
        Path | None,
        typer.Option(help="where the caches are kept and found again [default: a temporary folder]"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="time limit of a pass")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Read caches of noise in the shape of a ViT-B with losa, plain reads of the same bytes, and libraries.

    The caches are written first. Every reader is checked to return the bytes that were written before it is
    timed. Decoding is timed separately, beside its limits.
    """
    from losa.pipelines.bench.machine import describe_machine
    from losa.pipelines.bench.reading.benchmark import ReadBenchmark, render_reads

    defaults = ReadBenchmark()
    benchmark = ReadBenchmark(
        codecs=codec or defaults.codecs,
        stores=store or defaults.stores,
        gigabytes=gigabytes,
        batch=batch,
        rounds=rounds,
        seconds=seconds,
    )
    rows, decoding = benchmark.run(folder)
    if as_json:
        print(json.dumps({"rows": rows, "decoding": decoding, "machine": describe_machine()}, indent=2))
    else:
        PlainConsole(soft_wrap=True).print(render_reads(rows, decoding, benchmark))


@tool.command()
def growth(
    images: Annotated[int, typer.Option(min=1, help="images of the cache")] = 1_000_000,
    sites: Annotated[int, typer.Option(min=1, help="sites of each image")] = 12,
    folder: Annotated[
        Path | None,
        typer.Option(help="where the cache is kept and found again [default: a temporary folder]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time opening, planning and resuming of a cache of many images, and measure their memory.

    The cache is written first, which takes minutes: every 64 images are a shard, with files and a record. Its
    images have few codes. Each question is answered in a process of its own, from a warm page cache.
    """
    from losa.pipelines.bench.growth import GrowthBenchmark, growth_table
    from losa.pipelines.bench.machine import describe_machine

    benchmark = GrowthBenchmark(images=images, sites=sites)
    rows = benchmark.run(folder)
    if as_json:
        print(json.dumps({"rows": rows, "machine": describe_machine()}, indent=2))
    else:
        PlainConsole(soft_wrap=True).print(growth_table(rows, benchmark))


@tool.command()
def codecs(
    cache: Annotated[str, typer.Argument(metavar="CACHE", help="folder or URL of a cache of codec float32")],
    split: Annotated[str, typer.Option(help="split to measure")],
    images: Annotated[int, typer.Option(help="number of images to measure")] = 256,
    as_json: AsJson = False,
) -> None:
    """Measure size and loss of every codec on the activations of a float32 cache."""
    from losa.pipelines.bench.codecs import codec_report, codec_table

    rows = codec_table(cache, split, images)
    if as_json:
        print(json.dumps({"rows": [_without_infinity(row) for row in rows]}, indent=2))
    else:
        width = max(110, shutil.get_terminal_size().columns)  # the width of the table
        PlainConsole(soft_wrap=True, width=width).print(codec_report(rows))


@tool.command()
def sweep(
    members: Annotated[
        int, typer.Option(min=1, help="configurations, of different learning rates and seeds")
    ] = 24,
    images: Annotated[int, typer.Option(min=2, help="training images")] = 1000,
    epochs: Annotated[int, typer.Option(min=1, help="passes over the images")] = 100,
    side: Annotated[
        list[str] | None, typer.Option(help="side network; several share the members [default: losa]")
    ] = None,
    shape: Annotated[str, typer.Option(help="activations: demo, deit-tiny or vit-b")] = "vit-b",
    rank: Annotated[int, typer.Option(min=1, max=4096, help="rank of side networks")] = 8,
    batch: Annotated[int, typer.Option(min=1, help="images in a step")] = 50,
    codec: Annotated[str, typer.Option(help="codec of the cache")] = "int8",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "auto",
    compile_: Annotated[str, typer.Option("--compile", help="recorded steps: auto, true or false")] = "auto",
    folder: Annotated[
        Path | None,
        typer.Option(help="where the cache is kept and found again [default: a temporary folder]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time a whole sweep as losa-adapt trains it, from a cache of noise: loading, training, scoring, files.

    The cache is written first, which is not timed. Accuracies mean nothing.
    """
    from losa.pipelines.bench.machine import describe_machine
    from losa.pipelines.bench.sweep import SweepBenchmark, sweep_table

    benchmark = SweepBenchmark(
        members=members,
        images=images,
        epochs=epochs,
        sides=side or SweepBenchmark.sides,
        shape=shape,
        rank=rank,
        batch=batch,
        codec=codec,
        dtype=dtype,
        device=device,
        compile=compile_,
    )
    row = benchmark.run(folder)
    if as_json:
        print(
            json.dumps({"row": row, "settings": asdict(benchmark), "machine": describe_machine()}, indent=2)
        )
    else:
        PlainConsole(soft_wrap=True).print(sweep_table(row, benchmark))


tool.command()(fused)
tool.command()(live)


@tool.command()
def evaluate(
    backbone: Annotated[str, typer.Option(help="any backbone of losa-extract")] = "deit_tiny_patch16_224",
    checkpoint: Annotated[str | None, typer.Option(help="file of its weights [default: random]")] = None,
    sites: Annotated[int, typer.Option(help="number of sites that the side networks read")] = 4,
    side: Annotated[
        list[str] | None,
        typer.Option(help="may be repeated [default: losa, last, relay, lst, linear, mlp]"),
    ] = None,
    rank: Annotated[list[int] | None, typer.Option(help="may be repeated [default: 4, 8]")] = None,
    seeds: Annotated[int, typer.Option(help="side networks of each kind and rank")] = 2,
    folder: Annotated[
        str | None, typer.Option(help="photographs, decoded in every pass [default: noise, decoded already]")
    ] = None,
    images: Annotated[int, typer.Option(help="images in a pass")] = 128,
    batch: Annotated[int, typer.Option(help="images in a forward pass")] = 32,
    workers: Annotated[int, typer.Option(help="decoding processes; 0: decode in this process")] = 0,
    rounds: Annotated[int, typer.Option(help="passes of each, in turn, after a first one")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="threads of torch [default: its own choice]")] = None,
    as_json: AsJson = False,
) -> None:
    """Time what losa-evaluate does with images that no cache has, against the bare backbone.

    One pass over the backbone scores untrained side networks of many kinds and ranks.
    """
    from losa.pipelines.bench.evaluation import EvaluationBenchmark, render_evaluation

    benchmark = EvaluationBenchmark(
        backbone=backbone,
        checkpoint=checkpoint,
        sites=sites,
        sides=side or EvaluationBenchmark.sides,
        ranks=rank or EvaluationBenchmark.ranks,
        seeds=seeds,
        folder=folder,
        images=images,
        batch=batch,
        workers=workers,
        rounds=rounds,
        device=device,
        threads=threads,
    )
    rows = benchmark.run()
    _print_rows(rows, benchmark, render_evaluation, as_json=as_json)


@tool.command()
def extract(
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "--methods", help="may be repeated [default: all, see above]"),
    ] = None,
    backbone: Annotated[str, typer.Option(help="any backbone of losa-extract")] = "deit_tiny_patch16_224",
    checkpoint: Annotated[str | None, typer.Option(help="file of its weights [default: random]")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="folder of photographs, repeated if there are too few [default: made-up JPEGs]"),
    ] = None,
    size: Annotated[int, typer.Option(help="width and height of made-up photographs")] = 256,
    images: Annotated[int, typer.Option(help="images in a pass")] = 256,
    batch: Annotated[int, typer.Option(help="images in a forward pass")] = 32,
    sites: Annotated[int, typer.Option(help="number of sites whose activations are kept")] = 4,
    codec: Annotated[str, typer.Option(help="codec of losa's cache")] = "int8",
    dtype: Annotated[
        str, typer.Option(help="dtype of the backbone: float32, tf32 (GPUs), bfloat16 or float16")
    ] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="threads of torch [default: its own choice]")] = None,
    workers: Annotated[
        int | None, typer.Option(help="decoding processes [default: one for each core, at most 8]")
    ] = None,
    rounds: Annotated[int, typer.Option(help="passes of each method, in turn, after a short first one")] = 5,
    as_json: AsJson = False,
) -> None:
    """Time extraction against the bare forward pass and other ways to keep features.

    forward is the bare model of timm on inputs that are on the device already, the limit. losa is an
    extraction with everything but decoding; losa+decoding is all of it, from files. forward+decoding is the
    model behind torch's DataLoader; timm+npy and timm+h5py keep the activations of every batch in float16.
    thingsvision and kaiko-eva are measured if they are installed.
    Each method runs in a process of its own, and writes to the folder of temporary files (TMPDIR).
    """
    from losa.pipelines.bench.extraction.benchmark import ExtractionBenchmark, render_extraction

    benchmark = ExtractionBenchmark(
        methods=method or ExtractionBenchmark.methods,
        backbone=backbone,
        checkpoint=checkpoint,
        data=data,
        size=size,
        images=images,
        batch=batch,
        sites=sites,
        codec=codec,
        dtype=dtype,
        device=device,
        threads=threads,
        workers=workers,
        rounds=rounds,
    )
    rows = benchmark.run()
    _print_rows(rows, benchmark, render_extraction, as_json=as_json)


for command in (video, video_plan, accuracy, ablations, draw_scenes, draw_directions, pretrain):
    tool.command()(command)


def _print_rows(
    rows: list[dict[str, Any]],
    settings: Any,
    render: Callable[[list[dict[str, Any]], Any], object],
    *,
    as_json: bool,
) -> None:
    """Print the rows of a benchmark, as JSON with its settings and the machine, or as a table."""
    from losa.pipelines.bench.machine import describe_machine

    if as_json:
        content = {"rows": rows, "settings": asdict(settings), "machine": describe_machine()}
        print(json.dumps(content, indent=2))
    else:
        PlainConsole(soft_wrap=True).print(render(rows, settings))


def _without_infinity(value: Any) -> Any:
    """Replace infinity, which JSON has not, by None: the signal-to-noise ratio of a codec without loss."""
    if isinstance(value, dict):
        return {name: _without_infinity(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_infinity(item) for item in value]
    return None if value == math.inf else value


def main() -> None:
    """Run losa-bench."""
    run_tool(tool)
