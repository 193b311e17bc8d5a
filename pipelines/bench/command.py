"""losa-bench: the command."""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from losa.pipelines.tool import make_tool, run_tool

tool = make_tool(
    "Measure: how fast caches are read and side networks trained, what codecs lose, what LoRA gains."
)

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
    from losa.pipelines.bench.reading.benchmark import ReadBenchmark, render_reads

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


@tool.command()
def fused(
    side: Annotated[str, typer.Option(help="losa or last")] = "losa",
    rank: Annotated[int, typer.Option(help="of side networks and of LoRA")] = 8,
    heads: Annotated[int, typer.Option(help="of LAST's attention")] = 4,
    norm: Annotated[str, typer.Option(help="frozen, none or (not factored) layer")] = "frozen",
    sites: Annotated[int, typer.Option(help="of the activations")] = 12,
    tokens: Annotated[int, typer.Option(help="of the activations: cls and a square grid")] = 197,
    width: Annotated[int, typer.Option(help="of the activations")] = 768,
    depth: Annotated[int, typer.Option(help="blocks of the backbone that LoRA goes through")] = 12,
    batch: Annotated[int, typer.Option(help="images in a step")] = 50,
    members: Annotated[
        list[int] | None, typer.Option(help="once for each number [default: 1, 4, 16, 64]")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="once for each [default: float32, bfloat16]")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="once for each [default: factored, plain, vmap, lora]")
    ] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="images that factored computes at once [default: by memory]")
    ] = None,
    steps: Annotated[int, typer.Option(help="steps that are timed, after a first one")] = 3,
    rounds: Annotated[int, typer.Option(help="times that everything is measured, in turn")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="of torch [default: its own choice]")] = None,
    as_json: AsJson = False,
) -> None:
    """Time the training of side networks on noise in the shape of a ViT-B's activations.

    factored trains all members at once; plain is one member in plain PyTorch; vmap stacks such members by
    torch.func; lora trains through a live backbone and needs peft (pip install 'losa[bench]').
    Everything runs in a process of its own. What does not fit into memory says so.
    """
    from losa.pipelines.bench.fused.benchmark import FusedBenchmark, render_fused
    from losa.pipelines.bench.machine import describe_machine

    benchmark = FusedBenchmark(
        methods=method or FusedBenchmark.methods,
        dtypes=dtype or FusedBenchmark.dtypes,
        members=members or FusedBenchmark.members,
        side=side,
        rank=rank,
        heads=heads,
        norm=norm,
        sites=sites,
        tokens=tokens,
        width=width,
        depth=depth,
        batch=batch,
        micro_batch_size=micro_batch_size,
        steps=steps,
        rounds=rounds,
        device=device,
        threads=threads,
    )
    rows, rates = benchmark.run()
    if as_json:
        machine = describe_machine() | {"matmul_flops_per_second": rates}
        content = {"rows": rows, "settings": asdict(benchmark), "machine": machine}
        print(json.dumps(content, indent=2))
    else:
        shown = Console(soft_wrap=True, width=max(110, shutil.get_terminal_size().columns))
        shown.print(render_fused(rows, rates, benchmark), highlight=False)


@tool.command()
def lora(
    root: Annotated[str, typer.Option(help="folder with lists of images, as dataset=lists reads it")],
    backbone: Annotated[str, typer.Option(help="any timm vision transformer with a cls token")],
    checkpoint: Annotated[
        str | None, typer.Option(help="its weights [default: those that timm downloads]")
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="without: random weights, to try the command out")] = True,
    train_split: Annotated[str, typer.Option(help="list to train on")] = "train800val200",
    test_split: Annotated[str, typer.Option(help="list to score, once, in the end")] = "test",
    rank: Annotated[int, typer.Option(help="of the updates")] = 8,
    targets: Annotated[
        list[str] | None, typer.Option(help="once for each linear layer that gets an update [default: qkv]")
    ] = None,
    lr: Annotated[float, typer.Option(help="of AdamW; warm-up over a tenth, then half a cosine")] = 3e-3,
    epochs: Annotated[int, typer.Option(help="passes over the training images")] = 20,
    batch: Annotated[int, typer.Option(help="images in a step")] = 50,
    seed: Annotated[
        list[int] | None, typer.Option(help="once for each training: initialisation and order [default: 0]")
    ] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16 (by autocast) or float32")] = "bfloat16",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train LoRA through the live backbone and score it: the accuracy that side networks are up against.

    Preprocessing is that of losa-extract; optimiser, schedule, batches and head are those of losa-adapt.
    Needs peft (pip install 'losa[bench]').
    """
    from losa.pipelines.bench.lora_accuracy import LoraAccuracy, render_accuracy
    from losa.pipelines.bench.machine import describe_machine

    settings = LoraAccuracy(
        root=root,
        backbone=backbone,
        checkpoint=checkpoint,
        pretrained=pretrained,
        train_split=train_split,
        test_split=test_split,
        rank=rank,
        targets=targets or LoraAccuracy.targets,
        lr=lr,
        epochs=epochs,
        batch=batch,
        seeds=seed or LoraAccuracy.seeds,
        dtype=dtype,
        device=device,
    )
    rows = settings.run()
    if as_json:
        content = {"rows": rows, "settings": asdict(settings), "machine": describe_machine()}
        print(json.dumps(content, indent=2))
    else:
        Console(soft_wrap=True).print(render_accuracy(rows, settings), highlight=False)


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
