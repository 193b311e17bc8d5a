"""The subcommand `losa-bench live`."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.tool import AsJson


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
