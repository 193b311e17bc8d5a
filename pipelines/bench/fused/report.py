"""The table of `losa-bench fused`."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.emulated_dtypes import EMULATED_RATIO, SMALL_SIZE
from losa.cache_format.common.units import readable
from losa.pipelines.bench.fused.benchmark import EPOCH_IMAGES, MEMORY_FIGURES, FusedBenchmark

TITLES = (
    "members",
    "ms/member-\nstep",
    "s/epoch",
    "peak\nmemory",
    "of\ntensors",
    "x plain",
    "of matmul\npeak",
)


def render_fused(rows: Sequence[dict[str, Any]], rates: dict[str, float], benchmark: FusedBenchmark) -> Group:
    """Explain the columns, show the rows as a table, and list below it why some have no figures."""
    table = Table()
    table.add_column("dtype", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for title in TITLES:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(_dtype(row), row["method"], str(row["members"]), *_figures(row))
    notes = [
        f"{row['method']} in {_dtype(row)}, members {row['members']}: {row['note']}"
        for row in rows
        if row["note"] is not None
    ]
    return Group(_explanation(rows, rates, benchmark), table, *notes)


def _dtype(row: dict[str, Any]) -> str:
    return f"emulated {row['dtype']}" if row["emulated"] else row["dtype"]


def _figures(row: dict[str, Any]) -> list[str]:
    if row["note"] is not None:
        return ["-"] * (len(TITLES) - 1)
    speedup = row["speedup_vs_plain"]
    return [
        f"{row['seconds_per_member_step'] * 1e3:.1f}",
        f"{row['seconds_per_epoch']:.2f}",
        *("" if row[name] is None else readable(row[name]) for name in MEMORY_FIGURES),
        "" if speedup is None else f"{speedup:.2f}",
        f"{row['fraction_of_matmul_peak']:.1%}",
    ]


def _explanation(rows: Sequence[dict[str, Any]], rates: dict[str, float], benchmark: FusedBenchmark) -> str:
    peaks = ", ".join(f"{rate / 1e9:.1f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    size = SMALL_SIZE[resolve_device(benchmark.device).partition(":")[0]]
    emulated = (
        f"\nEmulated: products of {size} x {size} take more than {EMULATED_RATIO:g} times as long as in "
        "float32."
        if any(row["emulated"] for row in rows)
        else ""
    )
    return (
        f"{benchmark.side}, rank {benchmark.rank}, norm {benchmark.norm}; {benchmark.sites} sites "
        f"x {benchmark.tokens} tokens x {benchmark.width}, batch {benchmark.batch}. "
        f"lora: rank {benchmark.rank} on qkv through {benchmark.depth} live blocks of that shape.\n"
        "ms/member-step: forward, backward and AdamW of one member for one batch, median of at most "
        f"{benchmark.steps * benchmark.rounds}. s/epoch: the same for {EPOCH_IMAGES} images.\n"
        "Peak memory: what the process takes beside the batch. Of tensors: what those of a step hold at "
        "once.\nThe rest is parameters, optimiser state, frozen weights, and what allocators and libraries "
        "keep.\n"
        "plain and lora train one member at a time.\n"
        f"Matrix products reach {peaks}. Of matmul peak: the products of each method's own algorithm."
        f"{emulated}"
    )
