"""The table of `losa-bench fused`."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from losa.adapt.free_memory import is_cuda
from losa.adapt.kernels import kernels_told
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.emulated_dtypes import EMULATED_RATIO, SMALL_SIZE
from losa.cache_format.common.units import readable
from losa.pipelines.bench.fused.benchmark import EPOCH_IMAGES, LAUNCH_FIGURES, MEMORY_FIGURES, FusedBenchmark

TITLES = (
    "members",
    "ms/member-\nstep",
    "s/epoch",
    "peak\nmemory",
    "of\ntensors",
    "dispatches",
    "kernels",
    "x plain",
    "GFLOP/s",
    "of matmul\npeak",
    "GB/s",
)


def render_fused(rows: Sequence[dict[str, Any]], rates: dict[str, float], benchmark: FusedBenchmark) -> Group:
    """Explain the columns, show the rows as a table, and list below it why some have no figures."""
    table = Table()
    table.add_column("shape", no_wrap=True)
    table.add_column("side", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for title in TITLES:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        named = [row["shape"], row["side"], _dtype(row), row["method"], str(row["members"])]
        table.add_row(*named, *_figures(row))
    notes = [
        f"{row['method']} in {_dtype(row)}, {row['side']} {row['shape']}, members {row['members']}: "
        f"{row['note']}"
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
        f"{row['seconds_per_member_step'] * 1e3:.3g}",
        f"{row['seconds_per_epoch']:.2f}",
        *("" if row[name] is None else readable(row[name]) for name in MEMORY_FIGURES),
        *("" if row[name] is None else f"{row[name]:,}" for name in LAUNCH_FIGURES),
        "" if speedup is None else f"{speedup:.2f}",
        f"{row['flops_per_second'] / 1e9:,.1f}",
        f"{row['fraction_of_matmul_peak']:.1%}",
        "" if row["bytes_per_second"] is None else f"{row['bytes_per_second'] / 1e9:,.1f}",
    ]


def _explanation(rows: Sequence[dict[str, Any]], rates: dict[str, float], benchmark: FusedBenchmark) -> str:
    peaks = ", ".join(f"{rate / 1e9:.1f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    device = resolve_device(benchmark.device)
    size = SMALL_SIZE[device.partition(":")[0]]
    emulated = (
        f"\nEmulated: products of {size} x {size} take more than {EMULATED_RATIO:g} times as long as in "
        "float32."
        if any(row["emulated"] for row in rows)
        else ""
    )
    factored = {row["side"] for row in rows if row["method"] == "factored"}
    kernels = ""
    if factored and is_cuda(device):
        kernels = f"Factored: {kernels_told(device)}.\n"
    elif "last" in factored:
        kernels = f"Attention of factored: {kernels_told(device)}.\n"
    return (
        f"Rank {benchmark.rank}, norm {benchmark.norm}, batch {benchmark.batch}; sites x tokens x width. "
        f"lora: rank {benchmark.rank} on qkv through {benchmark.depth} live blocks of that shape.\n"
        "ms/member-step: forward, backward and AdamW of one member for one batch, median of at most "
        f"{benchmark.steps * benchmark.rounds}. s/epoch: the same for {EPOCH_IMAGES} images.\n"
        "Peak memory: what the process takes beside the batch. Of tensors: what those of a step hold at "
        "once.\nThe rest is parameters, optimiser state, frozen weights, and what allocators and libraries "
        "keep.\n"
        "plain and lora train one member at a time.\n"
        "Dispatches: calls of torch's operators in a step of all members. Kernels: those that compute "
        "(on a GPU, kernels and copies).\n"
        f"{kernels}"
        "GFLOP/s: of the products of each method's own algorithm. GB/s: of the frozen features that factored "
        "reads, which all members share.\n"
        f"Matrix products reach {peaks}. Of matmul peak: GFLOP/s as a part of that."
        f"{emulated}"
    )
