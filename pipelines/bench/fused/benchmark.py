"""How long a member of a sweep takes for a batch: our fused network, plain PyTorch, vmap, and LoRA."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, get_args

from rich.console import Group
from rich.table import Table

from losa.adapt.architecture import Norm
from losa.adapt.memory import free_in_ram, free_on_gpu
from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.suggestions import nearest
from losa.cache_format.common.units import readable
from losa.pipelines.bench.fused.flops import useful_flops
from losa.pipelines.bench.fused.setting import Dtype, Method, Setting, Side, needed_bytes
from losa.pipelines.bench.lora import peft_is_installed

ALONE: tuple[Method, ...] = ("plain", "lora")
"""Methods that train one member at a time, whatever the number of members."""
EPOCH_IMAGES = 1000
"""Of the training sets of VTAB-1K."""
_MEMORY = ("peak_bytes", "tensor_bytes")
NO_PEFT = "peft is not installed: pip install 'losa[bench]'"


@dataclass(frozen=True, kw_only=True)
class FusedBenchmark:
    """What is measured."""

    methods: Sequence[str] = get_args(Method)
    dtypes: Sequence[str] = get_args(Dtype)
    members: Sequence[int] = (1, 4, 16, 64)
    side: str = "losa"
    rank: int = Setting.rank
    heads: int = Setting.heads
    norm: str = Setting.norm
    sites: int = Setting.sites
    tokens: int = Setting.tokens
    width: int = Setting.width
    depth: int = Setting.depth
    batch: int = Setting.batch
    micro_batch_size: int | None = None
    steps: int = Setting.steps
    rounds: int = 1
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for option, values, known in (
            ("--method", self.methods, get_args(Method)),
            ("--dtype", self.dtypes, get_args(Dtype)),
            ("--side", [self.side], get_args(Side)),
            ("--norm", [self.norm], get_args(Norm)),
        ):
            for value in values:
                if value not in known:
                    choices = ", ".join(known)
                    raise LosaError(f"{option} {value}: expected one of {choices}{nearest(value, known)}")
        numbers = {
            "members": min(self.members),
            "micro-batch-size": self.micro_batch_size,
            "threads": self.threads,
        }
        for name in ("rank", "heads", "sites", "width", "depth", "batch", "steps", "rounds"):
            numbers[name] = getattr(self, name)
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise LosaError(f"--{name} {number}: expected 1 or more")
        if self.tokens < 2 or (self.tokens - 1) != round((self.tokens - 1) ** 0.5) ** 2:
            raise LosaError(f"--tokens {self.tokens}: expected a square (the grid) and one more (cls)")
        if self.norm == "layer" and "factored" in self.methods:
            raise LosaError("--norm layer does not factor: leave out --method factored, or use --norm frozen")

    def settings(self) -> list[Setting]:
        """Everything to measure; methods that train alone once, with one member."""
        return [
            Setting(
                method=method,  # type: ignore[arg-type]
                dtype=dtype,  # type: ignore[arg-type]
                members=members,
                side=self.side,  # type: ignore[arg-type]
                rank=self.rank,
                heads=self.heads,
                norm=self.norm,  # type: ignore[arg-type]
                sites=self.sites,
                tokens=self.tokens,
                width=self.width,
                depth=self.depth,
                batch=self.batch,
                micro_batch_size=self.micro_batch_size,
                steps=self.steps,
                device=resolve_device(self.device),
                threads=self.threads,
            )
            for dtype in self.dtypes
            for method in self.methods
            for members in ((1,) if method in ALONE else self.members)
        ]

    def run(self) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """Measure everything, each in a process of its own, in as many rounds as asked for.

        A row has

        - ``method``, ``dtype``, ``members``;
        - ``seconds_per_member_step``: forward, backward and AdamW for one batch, divided by members; median
          over the steps of all rounds; ``least_seconds_per_member_step`` is the fastest of them;
        - ``seconds_per_epoch``, the same for 1000 images;
        - ``peak_bytes`` of the process, and ``tensor_bytes`` of its step's tensors alone, both beside the
          batch: see `losa.pipelines.bench.fused.worker.measure`;
        - ``speedup_vs_plain``, to plain in the same dtype;
        - ``fraction_of_matmul_peak``: `useful_flops` in that time, as a fraction of the rate of matrix
          products in that dtype;
        - ``note``: None, or why there are no numbers. They are None then.

        Returns:
            The rows, and for each dtype the rate of matrix products in operations a second.

        Raises:
            LosaError: an option does not go with another.
        """
        settings = self.settings()
        device = settings[0].device
        steps: dict[Setting, list[float]] = {setting: [] for setting in settings}
        memory: dict[Setting, dict[str, int | None]] = {}
        notes: dict[Setting, str] = {}
        rates = dict.fromkeys(self.dtypes, 0.0)
        total = self.rounds * (len(settings) + len(rates))
        with progress_bar(total, "measuring", "processes", leave=False) as bar:
            for _ in range(self.rounds):
                for dtype in rates:
                    found = _ask({"matmul": dtype, "device": device, "threads": self.threads})
                    rates[dtype] = max(rates[dtype], found["rate"])
                    bar.update()
                for setting in settings:
                    bar.set_postfix_str(f"{setting.method} {setting.dtype} {setting.members}")
                    if setting not in notes:
                        found = _measure(setting)
                        if "note" in found:
                            notes[setting] = found["note"]
                        else:
                            steps[setting] += found["seconds"]
                            memory[setting] = _worst(memory.get(setting, {}), found)
                    bar.update()
        rows = [
            _row(setting, [] if setting in notes else steps[setting], rates[setting.dtype])
            | _worst({}, memory.get(setting, {}))
            | {"note": notes.get(setting)}
            for setting in settings
        ]
        return [row | {"speedup_vs_plain": _speedup(row, rows)} for row in rows], rates


def _measure(setting: Setting) -> dict[str, Any]:
    """What the process found, or a ``note`` in its place."""
    if setting.method == "lora" and not peft_is_installed():
        return {"note": NO_PEFT}
    needed = needed_bytes(setting)
    on_gpu = setting.device.startswith("cuda")
    too_large = {"note": f"does not fit ({readable(needed)})"}
    if needed > (free_on_gpu(setting.device) if on_gpu else free_in_ram()):
        return too_large
    found = _ask(asdict(setting))
    if "error" in found:
        raise LosaError(found["error"])
    return found if found.get("fits", True) else too_large


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """A process's answer; a process that was killed had no memory."""
    command = [sys.executable, "-m", "losa.pipelines.bench.fused.worker", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -9:
        return {"fits": False}
    if done.returncode:
        raise RuntimeError(f"measuring {request} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _worst(one: Mapping[str, int | None], other: Mapping[str, int | None]) -> dict[str, int | None]:
    """The larger figure of each kind; None where there is none."""
    return {name: max(of.get(name) or 0 for of in (one, other)) or None for name in _MEMORY}


def _row(setting: Setting, seconds: Sequence[float], rate: float) -> dict[str, Any]:
    each = [one / setting.members for one in seconds]
    typical = median(each) if each else None
    return {
        "method": setting.method,
        "dtype": setting.dtype,
        "members": setting.members,
        "seconds_per_member_step": typical,
        "least_seconds_per_member_step": min(each, default=None),
        "seconds_per_epoch": None if typical is None else typical * EPOCH_IMAGES / setting.batch,
        "fraction_of_matmul_peak": None if typical is None else useful_flops(setting) / typical / rate,
    }


def _speedup(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    for other in rows:
        if (other["method"], other["dtype"]) == ("plain", row["dtype"]):
            plain, mine = other["seconds_per_member_step"], row["seconds_per_member_step"]
            return None if plain is None or mine is None else plain / mine
    return None


def render_fused(rows: Sequence[dict[str, Any]], rates: dict[str, float], benchmark: FusedBenchmark) -> Group:
    """The rows for people."""
    table = Table()
    table.add_column("dtype", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for title in (
        "members",
        "ms/member-\nstep",
        "s/epoch",
        "peak\nmemory",
        "of\ntensors",
        "x plain",
        "of matmul\npeak",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        start = (row["dtype"], row["method"], str(row["members"]))
        if row["note"] is not None:
            table.add_row(*start, row["note"])
            continue
        speedup = row["speedup_vs_plain"]
        table.add_row(
            *start,
            f"{row['seconds_per_member_step'] * 1e3:.1f}",
            f"{row['seconds_per_epoch']:.2f}",
            *("" if row[name] is None else readable(row[name]) for name in _MEMORY),
            "" if speedup is None else f"{speedup:.2f}",
            f"{row['fraction_of_matmul_peak']:.1%}",
        )
    peaks = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    return Group(
        f"{benchmark.side}, rank {benchmark.rank}, norm {benchmark.norm}; {benchmark.sites} sites "
        f"x {benchmark.tokens} tokens x {benchmark.width}, batch {benchmark.batch}. "
        f"lora: rank {benchmark.rank} on qkv through {benchmark.depth} live blocks of that shape.\n"
        "ms/member-step: forward, backward and AdamW of one member for one batch, median of "
        f"{benchmark.steps * benchmark.rounds}. s/epoch: the same for {EPOCH_IMAGES} images.\n"
        "Peak memory is what the process takes beside the batch; of tensors: what those of a step hold at "
        "once.\nThe rest: parameters, optimiser, frozen weights, and what allocators and libraries keep.\n"
        "plain and lora train one member at a time.\n"
        f"Matrix products reach {peaks}; of matmul peak: the products of each method's own algorithm.",
        table,
    )
