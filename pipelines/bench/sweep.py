"""The time of a whole sweep, as losa-adapt trains it, on a cache of noise."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from losa.adapt import AdaptConfig, Job, adapt_all
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format.codecs import CodecName
from losa.cache_format.common.units import readable
from losa.cache_format.storage.paths import cache_folder
from losa.pipelines.bench.fused.setting import COMPILE, SHAPES
from losa.pipelines.bench.matrix_rate import Dtype
from losa.pipelines.bench.reading.noise_cache import SPLIT, NoiseCache, Shape, refuse_if_disk_is_short
from losa.pipelines.bench.unknown_names import refuse_unknown

CLASSES = 10
RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates of the members, in turn."""


@dataclass(frozen=True, kw_only=True)
class SweepBenchmark:
    """A sweep; `losa-bench sweep` explains the fields."""

    members: int = 24
    images: int = 1000
    epochs: int = 100
    sides: Sequence[str] = ("losa",)
    shape: str = "vit-b"
    rank: int = 8
    batch: int = 50
    codec: str = "int8"
    dtype: str = "float32"
    device: str = "auto"
    compile: str = "auto"

    def __post_init__(self) -> None:
        """Refuse names that are unknown."""
        for option, values, known in (
            ("side", self.sides, SIDE_NETWORKS),
            ("shape", [self.shape], SHAPES),
            ("codec", [self.codec], get_args(CodecName)),
            ("dtype", [self.dtype], get_args(Dtype)),
            ("compile", [self.compile], COMPILE),
        ):
            refuse_unknown(f"--{option}", values, known)

    def run(self, folder: Path | None = None) -> dict[str, Any]:
        """Write the cache and train the members.

        Args:
            folder: where the cache is kept; None for a temporary folder.

        Returns:
            - ``seconds`` from the start of the sweep to its end, ``train_seconds`` of training alone;
            - ``step_seconds``: those of training, divided by the number of steps;
            - ``residency`` that was chosen, and ``peak_bytes``: see `losa.adapt.peak_memory.highest_bytes`.

        Raises:
            LosaError: options are wrong, or the disk is full.
        """
        with tempfile.TemporaryDirectory(prefix="losa-bench-") as temporary:
            noise = self._noise(folder or Path(temporary))
            refuse_if_disk_is_short(cache_folder(noise.path.parent), noise.space)
            noise.write()
            jobs = [Job(config, Path(temporary) / config.member_name) for config in self._configs(noise)]
            began = time.perf_counter()
            outcomes = adapt_all(jobs)
            seconds = time.perf_counter() - began
            trained = []
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
                trained.append(outcome)
            train_seconds = sum(member.train_seconds for member in trained)
            return {
                "seconds": seconds,
                "train_seconds": train_seconds,
                "step_seconds": train_seconds / (self.epochs * math.ceil(self.images / self.batch)),
                "residency": trained[0].residency,
                "device": trained[0].device,
                # Members that do not fit into memory together are trained one after another.
                "peak_bytes": max(member.shared_pass.peak_bytes or 0 for member in trained),
            }

    def _noise(self, folder: Path) -> NoiseCache:
        sites, tokens, width = SHAPES[self.shape]
        edge = math.isqrt(tokens - 1)
        shape = Shape(sites=sites, grid=(edge, edge), width=width)
        path = folder / f"sweep-{self.codec}-{self.images}-{self.shape}"
        return NoiseCache(path, self.codec, "zarr", self.images, shape, CLASSES)  # type: ignore[arg-type]

    def _configs(self, noise: NoiseCache) -> list[AdaptConfig]:
        return [
            AdaptConfig(
                cache=str(noise.path),
                side=self.sides[number % len(self.sides)],
                rank=self.rank,
                probe_share=0.0,
                lr=RATES[number // len(self.sides) % len(RATES)],
                seed=number // len(self.sides) // len(RATES),
                train_split=SPLIT,
                eval_split=SPLIT,
                epochs=self.epochs,
                batch_size=self.batch,
                dtype=self.dtype,  # type: ignore[arg-type]
                device=self.device,
                compile=COMPILE[self.compile],
            )
            for number in range(self.members)
        ]


def sweep_table(row: dict[str, Any], benchmark: SweepBenchmark) -> Table:
    """The row as a table, under a title that tells the sweep."""
    sides = ", ".join(benchmark.sides)
    table = Table(
        title=f"{benchmark.members} members ({sides}, rank {benchmark.rank}), {benchmark.images:,} images "
        f"({benchmark.shape}, {benchmark.codec}), {benchmark.epochs} epochs, batch {benchmark.batch}, "
        f"{benchmark.dtype} on {row['device']}",
        title_justify="left",
    )
    for name in ("seconds", "of training", "ms/step", "residency", "peak memory"):
        table.add_column(name, justify="right", no_wrap=True)
    figures = [row["seconds"], row["train_seconds"], row["step_seconds"] * 1e3]
    table.add_row(*(f"{figure:.2f}" for figure in figures), row["residency"], readable(row["peak_bytes"]))
    return table
