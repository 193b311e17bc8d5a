"""The commands of the study, subcommands of losa-bench."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.tool import AsJson

if TYPE_CHECKING:  # slow to import, and help has no need of them
    from losa.pipelines.bench.study.rows import Row
    from losa.pipelines.bench.study.settings import StudySettings
    from losa.pipelines.text_table import TextTable

Data = Annotated[
    list[str],
    typer.Argument(metavar="DATA", help="folders of images with lists, or folders that hold several of them"),
]
Backbone = Annotated[str, typer.Option(help="any backbone of losa-extract")]
Out = Annotated[
    Path, typer.Option(help="folder of caches, members and results, in which finished ones are found again")
]
Checkpoint = Annotated[
    str | None, typer.Option(help="file of the backbone's weights [default: timm downloads them]")
]
Pretrained = Annotated[bool, typer.Option(help="pretrained or random weights")]
Seeds = Annotated[int, typer.Option(help="members of each configuration; seed varies, and data_seed with it")]
SameOrder = Annotated[
    bool,
    typer.Option(
        "--same-order",
        help="one data_seed for all seeds, which then train in one pass",
    ),
]
Sites = Annotated[str, typer.Option(help="sites that side networks read: all, a number, or a list of names")]
Grid = Annotated[
    str | None,
    typer.Option(help="size to which the caches' grids of tokens are mean-pooled: 7x7 [default: as is]"),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="name of a data set; may be repeated [default: all]")
]
Override = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="option of losa-adapt for all members; may be repeated"),
]
Validate = Annotated[
    bool,
    typer.Option(
        "--validate", help="train on train800 and score on val200 instead of test: for choosing defaults"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")]
Workers = Annotated[
    int | None, typer.Option(help="decoding processes [default: one for each core, at most 8]")
]


def accuracy(
    data: Data,
    backbone: Backbone,
    out: Out,
    checkpoint: Checkpoint = None,
    pretrained: Pretrained = True,
    side: Annotated[
        list[str] | None,
        typer.Option(help="may be repeated; the linear probe is always there [default: losa, last, relay]"),
    ] = None,
    seeds: Seeds = 5,
    same_order: SameOrder = False,
    sites: Sites = "all",
    grid: Grid = None,
    set_: Set = None,
    override: Override = None,
    validate: Validate = False,
    fixed_only: Annotated[
        bool, typer.Option("--fixed-only", help="train the defaults alone, and choose nothing")
    ] = False,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(metavar="SIDE,SIDE", help="side networks to average, too; may be repeated"),
    ] = None,
    choice_seeds: Annotated[int, typer.Option(help="seeds of each candidate of a choice")] = 1,
    device: Device = "auto",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Train side networks on several data sets, with the defaults and with options chosen on val200.

    Each data set is extracted once. The defaults are trained on train800val200 and scored on test. A small
    grid is trained on train800 and scored on val200; its best point is then trained like the defaults. A
    second table compares each side network with the linear probe, image by image. An ensemble is the mean
    class probability of side networks of the same seed. OUT/accuracy has results.csv, with a line for each
    member and ensemble, and table.md.
    """
    from losa.pipelines.bench.study.accuracy import AccuracyStudy
    from losa.pipelines.bench.study.accuracy_tables import accuracy_tables
    from losa.pipelines.bench.study.protocols import CANDIDATE, PROTOCOL
    from losa.pipelines.bench.study.results import refuse_failures
    from losa.pipelines.bench.study.rows import StudyRow
    from losa.pipelines.bench.study.settings import StudySettings

    settings = StudySettings(
        data=data,
        backbone=backbone,
        out=str(out),
        checkpoint=checkpoint,
        pretrained=pretrained,
        sides=side or StudySettings.sides,
        seeds=seeds,
        same_order=same_order,
        sites=sites,
        grid=grid,
        sets=set_ or (),
        overrides=override or (),
        validate=validate,
        device=device,
        workers=workers,
    )
    study = AccuracyStudy(
        settings=settings, choice_seeds=choice_seeds, fixed_only=fixed_only, ensembles=ensemble or ()
    )
    rows = study.run()
    _print(rows, accuracy_tables(rows, settings), settings, PROTOCOL, as_json=as_json)
    members = [row for row in rows if isinstance(row, StudyRow) and row.variant != CANDIDATE]
    refuse_failures(study.folder, members)


def ablations(
    data: Data,
    backbone: Backbone,
    out: Out,
    checkpoint: Checkpoint = None,
    pretrained: Pretrained = True,
    side: Annotated[
        list[str] | None,
        typer.Option(help="may be repeated [default: losa, last, relay]"),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="options to change, with commas between them "
            "[default: rank,sites,start,order,norm,pool,bias,probe_share,codec,views]"
        ),
    ] = None,
    seeds: Seeds = 5,
    same_order: SameOrder = False,
    sites: Sites = "all",
    grid: Grid = None,
    set_: Set = None,
    override: Override = None,
    validate: Validate = False,
    device: Device = "auto",
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Change one option of side networks at a time from its default, on several data sets.

    Training and scores are those of losa-bench accuracy, whose caches and members are found again in OUT.
    codec extracts a cache for each codec, views adds augmented images to the one there is.
    OUT/ablations has results.csv, with a line for each member, and table.md.
    """
    from losa.pipelines.bench.study.ablation_tables import ablation_tables
    from losa.pipelines.bench.study.ablations import CHANGED, AblationStudy
    from losa.pipelines.bench.study.results import refuse_failures
    from losa.pipelines.bench.study.settings import StudySettings

    settings = StudySettings(
        data=data,
        backbone=backbone,
        out=str(out),
        checkpoint=checkpoint,
        pretrained=pretrained,
        sides=side or StudySettings.sides,
        seeds=seeds,
        same_order=same_order,
        sites=sites,
        grid=grid,
        sets=set_ or (),
        overrides=override or (),
        validate=validate,
        device=device,
        workers=workers,
    )
    study = AblationStudy(settings=settings, only=only.split(",") if only else AblationStudy.only)
    rows = study.run()
    _print(rows, ablation_tables(rows, settings, study.only), settings, CHANGED, as_json=as_json)
    refuse_failures(study.folder, rows)


def draw_scenes(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="new or empty folder")],
) -> None:
    """Draw a data set of 2,000 scenes to count the objects in, always the same.

    800 scenes to train on, 200 to choose on and 1,000 to test, with 3 to 10 objects, which are the 8 classes.
    """
    from losa.pipelines.bench.study import drawn_scenes

    drawn_scenes.draw_scenes(folder, drawn_scenes.SCENES)


def draw_directions(
    photographs: Annotated[
        Path, typer.Argument(metavar="PHOTOGRAPHS", help="folder with lists train800, val200 and test")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="new or empty folder")],
) -> None:
    """Write a data set of 1,400 videos that move to the left or to the right, and need time to be told apart.

    Each photograph gives two videos of the same frames, in opposite orders: 800 to train on, 200 to choose on
    and 400 to test. Needs PyAV (pip install 'losa[video]').
    """
    from losa.pipelines.bench.study import drawn_directions

    drawn_directions.draw_directions(photographs, folder, drawn_directions.PHOTOGRAPHS)


def _print(
    rows: "Sequence[Row]",
    tables: "Sequence[TextTable]",
    settings: "StudySettings",
    variant: str,
    *,
    as_json: bool,
) -> None:
    """Print the tables, or the members as JSON, with the settings and the machine."""
    from losa.pipelines.bench.machine import describe_machine
    from losa.pipelines.bench.study.rows import as_records

    if as_json:
        content = {
            "rows": as_records(rows, variant),
            "tables": [asdict(table) for table in tables],
            "settings": asdict(settings),
            "machine": describe_machine(),
        }
        print(json.dumps(content, indent=2))
    else:
        console = PlainConsole(soft_wrap=True, width=max(120, shutil.get_terminal_size().columns))
        for table in tables:
            console.print(table.rich())
