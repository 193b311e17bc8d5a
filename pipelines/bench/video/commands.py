"""The subcommands `losa-bench video` and `losa-bench video-plan`."""

import json
import shutil
from typing import Annotated

import typer

from losa.pipelines.plain_console import PlainConsole
from losa.pipelines.tool import AsJson


def video(
    backbone: Annotated[str, typer.Option(help="vit-e, vit-g, vit-l or vit-b")] = "vit-e",
    side: Annotated[list[str] | None, typer.Option(help="may be repeated [default: losa]")] = None,
    mixing: Annotated[str, typer.Option(help="joint or factorised")] = "factorised",
    rank: Annotated[int, typer.Option(help="rank of side networks")] = 8,
    sites: Annotated[int, typer.Option(help="evenly spaced sites")] = 4,
    frames: Annotated[
        list[int] | None, typer.Option(help="frames of a clip; may be repeated [default: 32]")
    ] = None,
    grid: Annotated[
        list[int] | None, typer.Option(help="tokens along an edge of a frame; may be repeated [default: 16]")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="clips of a step; may be repeated [default: 1]")
    ] = None,
    members: Annotated[int, typer.Option(help="members that are trained together")] = 1,
    codec: Annotated[str, typer.Option(help="codec of the codes that are decoded in each step")] = "int8",
    dtype: Annotated[str, typer.Option(help="dtype of matrix products: float32 or bfloat16")] = "float32",
    steps: Annotated[int, typer.Option(help="timed steps, after a first one")] = 2,
    seconds: Annotated[float, typer.Option(help="time limit of the steps of a measurement")] = 600.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="threads of torch [default: its own choice]")] = None,
    as_json: AsJson = False,
) -> None:
    """Train side networks on clips of noise in the shape of a large backbone's, and measure memory and time.

    The codes are in memory, as if read from a cache; decoding, forward, backward and AdamW are measured. Each
    measurement runs in a process of its own, whose whole memory counts; on a GPU, what torch allocates there.
    """
    from losa.pipelines.bench.machine import describe_machine
    from losa.pipelines.bench.video.benchmark import VideoBenchmark, render_video
    from losa.pipelines.bench.video.names import refuse_unknown
    from losa.pipelines.bench.video.training import Setting

    refuse_unknown(backbone=backbone, mixing=mixing, codec=codec, dtype=dtype, side=side or [])
    setting = Setting(
        backbone=backbone,
        mixing=mixing,  # type: ignore[arg-type]
        rank=rank,
        sites=sites,
        members=members,
        codec=codec,  # type: ignore[arg-type]
        dtype=dtype,  # type: ignore[arg-type]
        steps=steps,
        seconds=seconds,
        device=device,
        threads=threads,
    )
    defaults = VideoBenchmark(setting=setting)
    benchmark = VideoBenchmark(
        setting=setting,
        sides=side or defaults.sides,
        frames=frames or defaults.frames,
        grids=grid or defaults.grids,
        batches=batch or defaults.batches,
    )
    rows = benchmark.run()
    if as_json:
        print(json.dumps({"rows": rows, "machine": describe_machine()}, indent=2))
    else:
        PlainConsole(soft_wrap=True, width=max(120, shutil.get_terminal_size().columns)).print(
            render_video(rows)
        )


def video_plan(
    backbone: Annotated[str, typer.Option(help="vit-e, vit-g, vit-l or vit-b")] = "vit-e",
    videos: Annotated[int, typer.Option(min=1, help="videos of the data set")] = 240_000,
    clips: Annotated[int, typer.Option(min=1, help="clips of each video, all crops counted")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="frames of a clip")] = 32,
    sites: Annotated[list[int] | None, typer.Option(help="may be repeated [default: 1, 4, 12]")] = None,
    codec: Annotated[list[str] | None, typer.Option(help="may be repeated [default: int8, int4]")] = None,
    grid: Annotated[
        list[int] | None,
        typer.Option(help="tokens along an edge of a frame; may be repeated [default: 16, 8, 4]"),
    ] = None,
    gpus: Annotated[list[int] | None, typer.Option(help="may be repeated [default: 1, 64]")] = None,
    tflops: Annotated[
        float, typer.Option(min=0.001, help="10^12 operations a second of the backbone on a GPU")
    ] = 300.0,
    read: Annotated[
        float, typer.Option(min=0.001, help="GB a second at which a GPU is fed from the cache")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Plan a cache of a large set of videos: bytes, hours of extraction, and when it pays.

    The defaults are in the shape of Kinetics-400. It is arithmetic with the rates that you give; losa-extract
    plan=true measures them on a machine.
    """
    from losa.pipelines.bench.video.names import refuse_unknown
    from losa.pipelines.bench.video.plan import VideoPlan, render_plan

    refuse_unknown(backbone=backbone, codec=codec or [])
    defaults = VideoPlan()
    plan = VideoPlan(
        backbone=backbone,
        videos=videos,
        clips=clips,
        frames=frames,
        sites=sites or defaults.sites,
        codecs=codec or defaults.codecs,  # type: ignore[arg-type]
        grids=grid or defaults.grids,
        gpus=gpus or defaults.gpus,
        tflops=tflops,
        read_gigabytes=read,
    )
    rows = plan.rows()
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        PlainConsole(soft_wrap=True, width=max(120, shutil.get_terminal_size().columns)).print(
            render_plan(rows, plan)
        )
