"""The subcommand `losa-report efficiency`."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.tool import AsJson


def efficiency(
    data: Annotated[str, typer.Argument(metavar="DATA", help="folder of photographs with lists")],
    backbone: Annotated[str, typer.Option(help="any timm vision transformer with a cls token")],
    out: Annotated[
        str,
        typer.Option(
            help="folder of cache, measurements and results, in which finished ones are found again"
        ),
    ],
    checkpoint: Annotated[
        str | None, typer.Option(help="file of its weights [default: timm downloads them]")
    ] = None,
    pretrained: Annotated[bool, typer.Option(help="pretrained or random weights")] = True,
    side: Annotated[
        list[str] | None,
        typer.Option(
            help="side network, trained from the cache; may be repeated "
            "[default: linear, attentive, losa, last, lst, relay]"
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="method that trains through the live backbone; may be repeated "
            "[default: lora, bitfit, adapter, full]"
        ),
    ] = None,
    checkpointing: Annotated[
        bool, typer.Option(help="measure these with gradient checkpointing, too")
    ] = True,
    rank: Annotated[
        int | None, typer.Option(help="of side networks, LoRA and adapters [default: as losa-adapt]")
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(help="linear layer that lora changes; may be repeated [default: qkv]"),
    ] = None,
    sites: Annotated[str, typer.Option(help="sites of the cache: all, or a number")] = "all",
    codec: Annotated[str, typer.Option(help="codec of the cache")] = "int8",
    train_split: Annotated[str, typer.Option(help="list to train on")] = "train800val200",
    epochs: Annotated[
        int | None, typer.Option(help="epochs of a training, whose time is told [default: as losa-adapt]")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="images in a step [default: as losa-adapt]")] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            help="images that a step computes at once [default: as losa-adapt chooses; live, the whole batch]"
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(help="timed training steps, and batches of inference, after a first one")
    ] = 10,
    seconds: Annotated[
        float, typer.Option(help="time limit of the steps, and of the batches, of a measurement")
    ] = 300.0,
    dtype: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 by autocast [default: as losa-adapt]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "auto",
    threads: Annotated[int | None, typer.Option(help="threads of torch [default: its own choice]")] = None,
    train: Annotated[
        bool,
        typer.Option("--train", help="train all of them through all epochs, too, for their accuracy"),
    ] = False,
    test_split: Annotated[str, typer.Option(help="list to score, once, after --train")] = "test",
    lr: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RATE",
            help="learning rate of a side network or method in --train; may be repeated [default: full=1e-4, "
            "others as losa-adapt]",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="measure anew what is finished")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what side networks cost, and what training through the live backbone costs.

    Time and memory of training, bytes of the cache, operations and speed of inference, on the same images,
    each in a process of its own. Steps are measured, not whole trainings; an epoch is so many of them. What
    does not fit into memory is told. OUT has report.html, table.md, results.csv and results.json. lora needs
    peft, and the page needs its libraries (pip install 'losa[bench,report]').
    """
    from losa.pipelines.report.libraries import refuse_missing_libraries

    refuse_missing_libraries()
    from losa.pipelines.report.efficiency.accuracies import (
        parse_rates,
        refuse_missing_list,
        train_for_accuracy,
    )
    from losa.pipelines.report.efficiency.comparison import EfficiencyComparison
    from losa.pipelines.report.efficiency.files import content_of
    from losa.pipelines.report.efficiency.measurements import refuse_failures
    from losa.pipelines.report.efficiency.results import write_results
    from losa.pipelines.report.efficiency.tables import efficiency_tables
    from losa.pipelines.report.writing import REPORT_NAME
    from losa.pipelines.writable_output import refuse_unwritable

    given: dict[str, Any] = {
        "sides": side,
        "methods": method,
        "rank": rank,
        "targets": targets,
        "epochs": epochs,
        "batch": batch,
        "dtype": dtype,
    }
    comparison = EfficiencyComparison(
        data=data,
        backbone=backbone,
        out=out,
        checkpoint=checkpoint,
        pretrained=pretrained,
        checkpointing=checkpointing,
        sites=int(sites) if sites.isdecimal() else sites,
        codec=codec,
        train_split=train_split,
        micro_batch=micro_batch,
        steps=steps,
        seconds=seconds,
        device=device,
        threads=threads,
        again=again,
        **{name: value for name, value in given.items() if value is not None},
    )
    rates = parse_rates(lr or (), comparison)
    if train:
        refuse_missing_list(comparison, test_split)
    refuse_unwritable("--out ", Path(out) / REPORT_NAME)
    measurements = comparison.run()
    rows = write_results(measurements, comparison)
    if train:  # the costs are written before, because this takes its time
        rows = write_results(
            measurements, comparison, train_for_accuracy(measurements, comparison, rates, test_split)
        )
    if as_json:
        print(json.dumps(content_of(rows, comparison), indent=2))
    else:
        console = PlainConsole(soft_wrap=True, width=max(130, shutil.get_terminal_size().columns))
        for table in efficiency_tables(rows, comparison):
            console.print(table.rich())
        console.print(str(Path(out) / REPORT_NAME))
    refuse_failures(measurements)
