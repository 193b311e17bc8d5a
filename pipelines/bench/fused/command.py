"""The subcommand `losa-bench fused`."""

import json
import shutil
from dataclasses import asdict
from typing import Annotated

import typer

from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.tool import AsJson


def fused(
    side: Annotated[
        list[str] | None, typer.Option(help="losa, last or relay; may be repeated [default: losa]")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="activations: demo, deit-tiny or vit-b; may be repeated [default: vit-b]"),
    ] = None,
    rank: Annotated[int, typer.Option(help="rank of side networks and of LoRA")] = 8,
    heads: Annotated[int, typer.Option(help="heads of LAST's attention")] = 4,
    norm: Annotated[str, typer.Option(help="normalisation: frozen, none or (not factored) layer")] = "frozen",
    sites: Annotated[
        int | None, typer.Option(help="sites of the activations [default: of the shape]")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="tokens: cls and a square grid [default: of the shape]")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="width of the activations [default: of the shape]")
    ] = None,
    depth: Annotated[int, typer.Option(help="blocks of the backbone for LoRA")] = 12,
    batch: Annotated[int, typer.Option(help="images in a step")] = 50,
    members: Annotated[
        list[int] | None, typer.Option(help="number of members; may be repeated [default: 1, 4, 16, 64]")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="may be repeated [default: float32, bfloat16]")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="may be repeated [default: factored, plain, vmap, lora]")
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="images that factored computes at once [default: by memory]")
    ] = None,
    steps: Annotated[int, typer.Option(help="timed steps, after a first one")] = 3,
    seconds: Annotated[float, typer.Option(help="time limit of the steps of a measurement")] = 180.0,
    rounds: Annotated[int, typer.Option(help="repetitions of all measurements, in turn")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "cpu",
    compile_: Annotated[
        str, typer.Option("--compile", help="recorded steps of factored: auto, true or false")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="threads of torch [default: its own choice]")] = None,
    as_json: AsJson = False,
) -> None:
    """Time the training of side networks on noise in the shape of a backbone's activations.

    factored trains all members at once; plain is one member in plain PyTorch; vmap stacks plain members with
    torch.func; lora trains through a live backbone and needs peft (pip install 'losa[bench]').
    Each measurement runs in a process of its own. One that needs too much memory or time is left out, and its
    row says so. A dtype that this machine emulates is marked.
    """
    from losa.pipelines.bench.fused.benchmark import FusedBenchmark
    from losa.pipelines.bench.fused.report import render_fused
    from losa.pipelines.bench.machine import describe_machine

    benchmark = FusedBenchmark(
        methods=method or FusedBenchmark.methods,
        dtypes=dtype or FusedBenchmark.dtypes,
        members=members or FusedBenchmark.members,
        sides=side or FusedBenchmark.sides,
        shapes=shape or FusedBenchmark.shapes,
        rank=rank,
        heads=heads,
        norm=norm,
        sites=sites,
        tokens=tokens,
        width=width,
        depth=depth,
        batch=batch,
        micro_batch_size=micro_batch,
        steps=steps,
        seconds=seconds,
        rounds=rounds,
        device=device,
        compile=compile_,
        threads=threads,
    )
    rows, rates = benchmark.run()
    if as_json:
        machine = describe_machine() | {"matmul_flops_per_second": rates}
        content = {"rows": rows, "settings": asdict(benchmark), "machine": machine}
        print(json.dumps(content, indent=2))
    else:
        shown = PlainConsole(soft_wrap=True, width=max(160, shutil.get_terminal_size().columns))
        shown.print(render_fused(rows, rates, benchmark))
