"""What a cache of a large set of videos costs: bytes, hours and when it pays. Arithmetic, nothing is run."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from losa.cache_format import LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.layout import code_layout
from losa.cache_format.common.units import duration, readable
from losa.cache_format.stores.base import ShardGeometry
from losa.extract.break_even import BreakEven
from losa.pipelines.bench.video.shapes import SHAPES


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """A set of videos, a backbone and machines."""

    backbone: str = "vit-e"
    videos: int = 240_000
    """About those that Kinetics-400 has to train on."""
    clips: int = 1
    frames: int = 32
    sites: Sequence[int] = (1, 4, 12)
    codecs: Sequence[CodecName] = ("int8", "int4")
    grids: Sequence[int] = (16, 8, 4)
    """Tokens along an edge of a frame."""
    gpus: Sequence[int] = (1, 64)
    tflops: float = 300.0
    """Operations of the backbone per second and GPU, in 10^12."""
    read_gigabytes: float = 5.0
    """Speed of reading the cache per GPU, in 10^9 bytes per second."""

    def rows(self) -> list[dict[str, Any]]:
        """A row for each combination of sites, codec and grid.

        It has ``clip_bytes`` and ``bytes``; ``hours`` of extraction, by number of GPUs, if the backbone is
        the limit; ``read_bytes_per_s_needed`` per GPU, above which a pass over the cache is faster than one
        through the backbone; ``members`` that must share a pass at the given speed of reading, and
        ``passes`` until the extraction has paid for itself.

        Raises:
            LosaError: a number or a name is not one that can be planned with.
        """
        shape = SHAPES[self.backbone]
        for name in ("sites", "grids", "gpus"):
            if min(getattr(self, name)) < 1:
                raise LosaError(f"--{name.removesuffix('s')}: expected 1 or more")
        for grid in self.grids:
            if shape.grid % grid:
                raise LosaError(
                    f"--grid {grid}: expected a divisor of {shape.grid}, the grid of {self.backbone}"
                )
        clips = self.videos * self.clips
        clips_per_s = self.tflops * 1e12 / (shape.frame_flops * self.frames)
        found = []
        for sites, codec, grid in itertools.product(self.sites, self.codecs, self.grids):
            of_clip = ShardGeometry(
                images=1,
                rows_per_shard=1,
                sites=sites,
                tokens=self.frames * grid**2,
                layout=code_layout(codec, shape.width),
                compressor=None,
            ).stored_image_bytes
            pays = BreakEven(
                image_bytes=of_clip, images_per_s=clips_per_s, read_bytes_per_s=self.read_gigabytes * 1e9
            )
            passes = pays.passes(pays.members)
            found.append(
                {
                    "sites": sites,
                    "codec": codec,
                    "grid": grid,
                    "clip_bytes": of_clip,
                    "bytes": clips * of_clip,
                    "hours": {str(gpus): clips / clips_per_s / gpus / 3600 for gpus in self.gpus},
                    "read_bytes_per_s_needed": pays.read_bytes_per_s_needed,
                    "members": pays.members,
                    "passes": None if math.isinf(passes) else passes,
                }
            )
        return found


def render_plan(rows: Sequence[dict[str, Any]], plan: VideoPlan) -> Table:
    """The rows as a table."""
    shape = SHAPES[plan.backbone]
    title = (
        f"{plan.videos:,} videos, {plan.clips} clips of {plan.frames} frames, {plan.backbone}: "
        f"{shape.frame_flops / 1e12:.2f} TFLOP a frame, {plan.tflops:g} TFLOP/s a GPU, "
        f"{plan.read_gigabytes:g} GB/s a GPU"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("sites", "codec", "grid", "a clip", "cache"):
        table.add_column(heading, justify="right", no_wrap=True)
    for gpus in plan.gpus:
        table.add_column(f"{gpus} GPU", justify="right", no_wrap=True)
    for heading in ("pays if read at", "members", "passes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["sites"]),
            row["codec"],
            f"{row['grid']} x {row['grid']}",
            readable(row["clip_bytes"]),
            readable(row["bytes"]),
            *(duration(3600 * hours) for hours in row["hours"].values()),
            f"{readable(row['read_bytes_per_s_needed'])}/s",
            str(row["members"]),
            "never" if row["passes"] is None else f"{row['passes']:,}",
        )
    return table
