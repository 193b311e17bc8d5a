"""The command losa-bench."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from losa.pipelines.bench.study.commands import ablations, accuracy, draw_scenes
from losa.pipelines.plain_console import PlainConsole
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


@tool.command()
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


@tool.command()
def live(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA...", help="folders with lists of images, or folders of such folders"),
    ],
    backbone: Annotated[str, typer.Option(help="any timm vision transformer with a cls token")],
    out: Annotated[str, typer.Option(help="folder of finished trainings, which are not done again")],
    checkpoint: Annotated[
        str | None, typer.Option(help="file of its weights [default: timm downloads them]")
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="pretrained or random weights")] = True,
    only: Annotated[
        list[str] | None, typer.Option("--set", help="data set to take; may be repeated [default: all]")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="lora, bitfit, adapter, full or linear; may be repeated [default: lora, bitfit, adapter]"
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="rank of lora's updates and of the adapters' bottlenecks [default: 8]")
    ] = None,
    parameters: Annotated[
        int | None, typer.Option(help="choose the rank that trains nearest to this number, head included")
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(help="linear layer that lora changes; may be repeated [default: qkv]"),
    ] = None,
    lr: Annotated[
        list[float] | None,
        typer.Option(
            help="learning rate of AdamW; of several, the best on --select-split [default: 1e-3, 3e-3, 1e-2]"
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="seed; may be repeated, and the choice is made with the first [default: 0]"),
    ] = None,
    train_split: Annotated[str, typer.Option(help="list to train on")] = "train800val200",
    test_split: Annotated[str, typer.Option(help="list to score, once, after training")] = "test",
    select_train_split: Annotated[
        str, typer.Option(help="list to train on before the choice of --lr")
    ] = "train800",
    select_split: Annotated[str, typer.Option(help="list to choose --lr on")] = "val200",
    epochs: Annotated[
        int | None, typer.Option(help="passes over the training images [default: as losa-adapt]")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="images in a step [default: as losa-adapt]")] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="weight decay of AdamW, biases excluded [default: as losa-adapt]")
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="part of the steps before the cosine [default: as losa-adapt]")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 by autocast [default: as losa-adapt]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "auto",
    seconds: Annotated[float, typer.Option(help="time limit of a training, else it is refused")] = 86400.0,
    compare: Annotated[
        Path | None,
        typer.Option(help="results.csv of losa-bench accuracy, to show its side networks beside the methods"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train LoRA, BitFit and bottleneck adapters through the live backbone, to compare with side networks.

    Preprocessing is that of losa-extract; optimiser, schedule, batches and head are those of losa-adapt.
    linear trains the head alone, as a check: it is side=linear without a cache. full trains all parameters,
    and wants a smaller --lr, such as 1e-5 to 1e-4. After a kill the same command goes on. lora needs peft
    (pip install 'losa[bench]').
    """
    from losa.pipelines.bench.live.comparison import LiveComparison
    from losa.pipelines.bench.live.report import render_live
    from losa.pipelines.bench.live.side_networks import read_side_networks
    from losa.pipelines.bench.live.training import TrainingOptions
    from losa.pipelines.bench.machine import describe_machine

    training: dict[str, Any] = {
        "epochs": epochs,
        "batch": batch,
        "weight_decay": weight_decay,
        "warmup": warmup,
        "dtype": dtype,
    }
    comparison = LiveComparison(
        data=data,
        out=out,
        backbone=backbone,
        checkpoint=checkpoint,
        pretrained=pretrained,
        sets=only or LiveComparison.sets,
        methods=method or LiveComparison.methods,
        rank=rank,
        parameters=parameters,
        targets=targets or LiveComparison.targets,
        lrs=lr or LiveComparison.lrs,
        seeds=seed or LiveComparison.seeds,
        train_split=train_split,
        test_split=test_split,
        select_train_split=select_train_split,
        select_split=select_split,
        training=TrainingOptions(**{name: value for name, value in training.items() if value is not None}),
        device=device,
        seconds=seconds,
    )
    sides = [] if compare is None else read_side_networks(compare, comparison.folders, test_split)
    rows = comparison.run()
    if as_json:
        content = {"rows": rows, "side_networks": sides, "settings": asdict(comparison)}
        print(json.dumps(content | {"machine": describe_machine()}, indent=2))
    else:
        width = max(110, shutil.get_terminal_size().columns)  # the width of the table
        PlainConsole(soft_wrap=True, width=width).print(render_live(rows, sides, comparison))


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


for command in (accuracy, ablations, draw_scenes):
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
