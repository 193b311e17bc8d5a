"""Time and memory of a training step: the factored network against plain PyTorch, vmap and LoRA."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, get_args

from losa.adapt.architecture import Norm
from losa.adapt.free_memory import free_in_ram, free_on_gpu
from losa.cache_format import LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.pipelines.bench.fused.flops import useful_bytes, useful_flops
from losa.pipelines.bench.fused.setting import COMPILE, SHAPES, Method, PlainSide, Setting, needed_bytes
from losa.pipelines.bench.live.lora import peft_is_installed
from losa.pipelines.bench.matrix_rate import Dtype
from losa.pipelines.bench.unknown_names import refuse_unknown

ALONE: tuple[Method, ...] = ("plain", "lora")
"""Methods that train one member at a time."""
EPOCH_IMAGES = 1000
"""Images of an epoch, as in the training sets of VTAB-1K."""
MEMORY_FIGURES = ("peak_bytes", "tensor_bytes")
LAUNCH_FIGURES = ("dispatches", "kernels")
SIZES = (*MEMORY_FIGURES, *LAUNCH_FIGURES)
NO_PEFT = "peft is not installed: pip install 'losa[bench]'"
START_SECONDS = 120
"""Time that a process may take beside its steps, to import modules, to warm up and to make the batch."""


@dataclass(frozen=True, kw_only=True)
class FusedBenchmark:
    """The settings to measure. Fields have the names of `Setting`, or their plurals.

    ``sites``, ``tokens`` and ``width`` replace those of every shape, which are keys of `SHAPES`.
    """

    methods: Sequence[str] = get_args(Method)
    dtypes: Sequence[str] = get_args(Dtype)
    members: Sequence[int] = (1, 4, 16, 64)
    sides: Sequence[str] = ("losa",)
    shapes: Sequence[str] = ("vit-b",)
    rank: int = Setting.rank
    heads: int = Setting.heads
    norm: str = Setting.norm
    sites: int | None = None
    tokens: int | None = None
    width: int | None = None
    depth: int = Setting.depth
    batch: int = Setting.batch
    micro_batch_size: int | None = None
    steps: int = Setting.steps
    seconds: float = Setting.seconds
    rounds: int = 1
    device: str = "cpu"
    compile: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse options that cannot be measured."""
        for option, values, known in (
            ("--method", self.methods, get_args(Method)),
            ("--dtype", self.dtypes, get_args(Dtype)),
            ("--side", self.sides, get_args(PlainSide)),
            ("--shape", self.shapes, tuple(SHAPES)),
            ("--compile", [self.compile], COMPILE),
            ("--norm", [self.norm], get_args(Norm)),
        ):
            refuse_unknown(option, values, known)
        numbers = {
            "members": min(self.members),
            "micro-batch": self.micro_batch_size,
            "threads": self.threads,
        }
        for name in ("rank", "heads", "sites", "width", "depth", "batch", "steps", "rounds"):
            numbers[name] = getattr(self, name)
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise LosaError(f"--{name} {number}: expected 1 or more")
        if self.seconds <= 0:
            raise LosaError(f"--seconds {self.seconds:g}: expected more than 0")
        if self.tokens is not None and (
            self.tokens < 2 or math.isqrt(self.tokens - 1) ** 2 != self.tokens - 1
        ):
            raise LosaError(f"--tokens {self.tokens}: expected a square (the grid) and one more (cls)")
        if self.norm == "layer" and "factored" in self.methods:
            raise LosaError("--norm layer does not factor: leave out --method factored, or use --norm frozen")

    def settings(self) -> list[Setting]:
        """All combinations of shapes, side networks, dtypes, methods and members.

        Methods of `ALONE` have one member, and LoRA has no side network: it is measured with the first.
        """
        replaced = {
            name: value
            for name, value in (("sites", self.sites), ("tokens", self.tokens), ("width", self.width))
            if value is not None
        }
        return [
            Setting(
                method=method,  # type: ignore[arg-type]
                dtype=dtype,  # type: ignore[arg-type]
                members=members,
                side=side,  # type: ignore[arg-type]
                rank=self.rank,
                heads=self.heads,
                norm=self.norm,  # type: ignore[arg-type]
                **SHAPES[shape]._replace(**replaced)._asdict(),
                depth=self.depth,
                batch=self.batch,
                micro_batch_size=self.micro_batch_size,
                steps=self.steps,
                seconds=self.seconds,
                device=resolve_device(self.device),
                compile=COMPILE[self.compile],
                threads=self.threads,
            )
            for shape in self.shapes
            for side in self.sides
            for dtype in self.dtypes
            for method in self.methods
            if method != "lora" or side == self.sides[0]
            for members in ((1,) if method in ALONE else self.members)
        ]

    def run(self) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """Measure every setting once in each round, each time in a process of its own.

        A row has

        - ``shape`` as sites x tokens x width, ``side``, ``method``, ``dtype``, ``members``;
        - ``emulated``: whether the dtype is emulated on this machine, see `losa.pipelines.bench.matrix_rate`;
        - ``seconds_per_member_step``: forward, backward and AdamW for one batch, divided by members; median
          over the steps of all rounds; ``least_seconds_per_member_step`` is the fastest of them;
        - ``seconds_per_epoch``: the same for 1000 images;
        - ``peak_bytes`` of the process and ``tensor_bytes`` of the tensors of a step, both without the batch:
          see `losa.pipelines.bench.fused.worker.measure`;
        - ``dispatches`` and ``kernels`` of a step: see `losa.pipelines.bench.fused.counts`;
        - ``speedup_vs_plain``: the ratio to plain of the same shape and side network in the same dtype;
        - ``flops_per_second``: the rate of `useful_flops`, and ``fraction_of_matmul_peak``, the same as a
          fraction of the rate of matrix products in that dtype;
        - ``bytes_per_second``: the rate of `useful_bytes`; None but for factored;
        - ``note``: None, or why the setting has no figures; they are None then.

        Returns:
            The rows, and for each dtype the rate of matrix products in operations per second.

        Raises:
            LosaError: an option does not go with another, or the rate could not be measured.
        """
        settings = self.settings()
        device = settings[0].device
        steps: dict[Setting, list[float]] = {setting: [] for setting in settings}
        sizes: dict[Setting, dict[str, int | None]] = {}
        notes: dict[Setting, str] = {}
        rates = dict.fromkeys(self.dtypes, 0.0)
        emulated = dict.fromkeys(self.dtypes, True)
        total = self.rounds * (len(settings) + len(rates))
        with progress_bar(total, "measuring", "processes", leave=False) as bar:
            for _ in range(self.rounds):
                for dtype in rates:
                    found = _ask({"matmul": dtype, "device": device, "threads": self.threads}, self.seconds)
                    if "flops_per_second" not in found:
                        raise LosaError(f"the rate of matrix products in {dtype} could not be measured")
                    rates[dtype] = max(rates[dtype], found["flops_per_second"])
                    emulated[dtype] &= found["emulated"]
                    bar.update()
                for setting in settings:
                    bar.set_postfix_str(f"{setting.method} {setting.dtype} {setting.members}")
                    if setting not in notes:
                        found = _measure(setting, rates[setting.dtype])
                        if "note" in found:
                            notes[setting] = found["note"]
                        else:
                            steps[setting] += found["seconds"]
                            sizes[setting] = _worst(sizes.get(setting, {}), found)
                    bar.update()
        rows = [
            _row(setting, [] if setting in notes else steps[setting], rates[setting.dtype])
            | _worst({}, sizes.get(setting, {}))
            | {"emulated": emulated[setting.dtype], "note": notes.get(setting)}
            for setting in settings
        ]
        return [row | {"speedup_vs_plain": _speedup(row, rows)} for row in rows], rates


def _measure(setting: Setting, rate: float) -> dict[str, Any]:
    """Return the answer of a worker process, or a ``note`` that says why there is none.

    Args:
        setting: what to measure.
        rate: matrix products in operations per second, to predict the time of a step.
    """
    if setting.method == "lora" and not peft_is_installed():
        return {"note": NO_PEFT}
    needed = needed_bytes(setting)
    on_gpu = setting.device.startswith("cuda")
    too_large = {"note": f"does not fit ({readable(needed)})"}
    if needed > (free_on_gpu(setting.device) if on_gpu else free_in_ram()):
        return too_large
    expected = useful_flops(setting) * setting.members / rate
    if expected > setting.seconds:
        return {"note": f"not run: a step would take about {expected:.0f} s (--seconds {setting.seconds:g})"}
    found = _ask(asdict(setting), setting.seconds)
    if "error" in found:
        raise LosaError(found["error"])
    if "stopped" in found:
        return {"note": f"stopped after {found['stopped']:.0f} s (--seconds {setting.seconds:g})"}
    return found if found.get("fits", True) else too_large


def _ask(request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the answer of a worker process; ``{"stopped": seconds}`` if it took too long.

    A process that was killed is taken to have had too little memory: ``{"fits": False}``.
    """
    command = [sys.executable, "-m", "losa.pipelines.bench.fused.worker", json.dumps(request)]
    limit = START_SECONDS + seconds
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"stopped": limit}
    if done.returncode == -9:
        return {"fits": False}
    if done.returncode:
        raise RuntimeError(f"measuring {request} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _worst(one: Mapping[str, int | None], other: Mapping[str, int | None]) -> dict[str, int | None]:
    """The larger figure of each kind; None where neither has one."""
    return {name: max(figures.get(name) or 0 for figures in (one, other)) or None for name in SIZES}


def _row(setting: Setting, seconds: Sequence[float], rate: float) -> dict[str, Any]:
    each = [one / setting.members for one in seconds]
    typical = median(each) if each else None
    rate_found = None if typical is None else useful_flops(setting) / typical
    read = useful_bytes(setting) / setting.members if setting.method == "factored" else None
    return {
        "shape": f"{setting.sites} x {setting.tokens} x {setting.width}",
        "side": setting.side,
        "method": setting.method,
        "dtype": setting.dtype,
        "members": setting.members,
        "seconds_per_member_step": typical,
        "least_seconds_per_member_step": min(each, default=None),
        "seconds_per_epoch": None if typical is None else typical * EPOCH_IMAGES / setting.batch,
        "flops_per_second": rate_found,
        "fraction_of_matmul_peak": None if rate_found is None else rate_found / rate,
        "bytes_per_second": None if typical is None or read is None else read / typical,
    }


def _speedup(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    for other in rows:
        if other["method"] == "plain" and all(
            other[name] == row[name] for name in ("shape", "side", "dtype")
        ):
            plain, mine = other["seconds_per_member_step"], row["seconds_per_member_step"]
            return None if plain is None or mine is None else plain / mine
    return None
