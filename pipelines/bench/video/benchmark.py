"""Time and memory of training side networks on clips of large backbones, from noise in their shape."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from rich.table import Table

from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.pipelines.bench.video import training
from losa.pipelines.bench.video.training import Setting


@dataclass(frozen=True, kw_only=True)
class VideoBenchmark:
    """The settings to measure: all combinations of what may be several."""

    setting: Setting
    """What all of them have in common."""
    frames: Sequence[int] = (Setting.frames,)
    grids: Sequence[int] = (Setting.grid,)
    batches: Sequence[int] = (Setting.batch,)
    sides: Sequence[str] = (Setting.side,)

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be measured."""
        numbers = {"frames": self.frames, "grid": self.grids, "batch": self.batches}
        numbers |= {name: [getattr(self.setting, name)] for name in ("sites", "members", "rank", "steps")}
        for name, values in numbers.items():
            if min(values) < 1:
                raise LosaError(f"--{name} {min(values)}: expected 1 or more")

    def run(self) -> list[dict[str, Any]]:
        """Measure every setting in a process of its own.

        Returns:
            For each the fields of `Setting`; ``tokens`` of a clip; ``seconds_per_step``, the median, and
            ``peak_bytes`` as `losa.pipelines.bench.video.training.measure` has it, both None if the memory
            was too small; and ``parameters`` of a member.

        Raises:
            LosaError: a process failed; the message is its last line.
        """
        device = resolve_device(self.setting.device)
        settings = [
            replace(self.setting, device=device, side=side, grid=grid, frames=frames, batch=batch)
            for side, grid, frames, batch in itertools.product(
                self.sides, self.grids, self.frames, self.batches
            )
        ]
        rows = []
        with progress_bar(len(settings), "measuring", "processes", leave=False) as bar:
            for setting in settings:
                rows.append(_row(setting))
                bar.update()
        return rows


def _row(setting: Setting) -> dict[str, Any]:
    command = [sys.executable, "-m", training.__name__, json.dumps(asdict(setting))]
    finished = subprocess.run(command, capture_output=True, check=False, text=True)
    found: dict[str, Any] = {"seconds": [], "peak_bytes": None, "parameters": None}
    # A process that the system killed had too little memory.
    if finished.returncode > 0:
        lines = finished.stderr.strip().splitlines() or ["without a message"]
        raise LosaError(f"a measurement failed: {lines[-1]}")
    if finished.returncode == 0:
        answer = json.loads(finished.stdout)
        found |= {name: answer[name] for name in found if name in answer}
    seconds = found.pop("seconds")
    return (
        asdict(setting)
        | {"tokens": setting.layout.count, "seconds_per_step": median(seconds) if seconds else None}
        | found
    )


def render_video(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows as a table."""
    table = Table(title="training on clips, codes of noise", title_justify="left")
    for heading in ("backbone", "side", "mixing"):
        table.add_column(heading, no_wrap=True)
    for heading in ("sites", "frames", "grid", "tokens", "clips", "parameters", "s a step", "peak memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        fits = row["peak_bytes"] is not None
        table.add_row(
            row["backbone"],
            row["side"],
            row["mixing"],
            *(f"{row[name]:,}" for name in ("sites", "frames", "grid", "tokens", "batch")),
            f"{row['parameters']:,}" if fits else "",
            f"{row['seconds_per_step']:.2f}" if fits else "",
            readable(row["peak_bytes"]) if fits else "does not fit",
        )
    return table
