"""The speed of extraction: losa against the bare forward pass and against other ways to keep features."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np
from rich.console import Group
from rich.table import Table

from losa.cache_format import LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.common.cores import usable_cores
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.cache_format.identity import ComputeDtype
from losa.extract.sources.folder_walk import FolderWalk
from losa.pipelines.bench.extraction.photographs import make_photographs
from losa.pipelines.bench.extraction.process import MethodProcess
from losa.pipelines.bench.extraction.setting import Method, Setting
from losa.pipelines.bench.unknown_names import refuse_unknown

LIMIT = "forward"
MADE_UP = 256
"""Number of made-up photographs; more images repeat them."""
WARM_UP_BATCHES = 2


@dataclass(frozen=True, kw_only=True)
class ExtractionBenchmark:
    """The methods, the backbone and the images."""

    methods: Sequence[str] = get_args(Method)
    backbone: str = "deit_tiny_patch16_224"
    checkpoint: str | None = None
    """File of the weights; None: random weights, which take the same time."""
    data: str | None = None
    """Folder of photographs; None: made-up ones."""
    size: int = 256
    """Width and height of made-up photographs."""
    images: int = 256
    batch: int = 32
    sites: int = 4
    codec: str = "int8"
    dtype: str = "float32"
    device: str = "cpu"
    threads: int | None = None
    workers: int | None = None
    """Decoding processes; None: one for each core, at most 8."""
    rounds: int = 5

    def __post_init__(self) -> None:
        """Refuse options that cannot be measured."""
        for option, values, known in (
            ("--methods", self.methods, get_args(Method)),
            ("--codec", [self.codec], get_args(CodecName)),
            ("--dtype", [self.dtype], get_args(ComputeDtype)),
        ):
            refuse_unknown(option, values, known)
        for option in ("size", "images", "batch", "sites", "threads", "rounds"):
            number = getattr(self, option)
            if number is not None and number < 1:
                raise LosaError(f"--{option} {number}: expected 1 or more")
        if self.workers is not None and self.workers < 0:
            raise LosaError(f"--workers {self.workers}: expected 0 or more")

    def run(self) -> list[dict[str, Any]]:
        """Time every method once in each round, in another order every round, each in a process of its own.

        A row has

        - ``method``;
        - ``images_per_s``: median over rounds;
        - ``ratio_to_forward``: median over rounds of the ratio of its speed to that of ``forward`` in the
          same round; None without that method;
        - ``bytes_written`` by a pass;
        - ``peak_bytes`` and ``gpu_peak_bytes``: see `losa.pipelines.bench.extraction.worker.measure`;
        - ``dtype`` of the backbone's computations, ``threads`` of torch and decoding processes (``workers``);
        - ``note``: None, or why there are no figures; they are None then.

        Raises:
            LosaError: the backbone or the photographs cannot be loaded.
        """
        with self._processes() as processes:
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
            for process in processes.values():
                process.measure(min(self.images, WARM_UP_BATCHES * self.batch))
            total = self.rounds * len(processes)
            with progress_bar(total, "extracting", "passes", leave=False) as bar:
                for number in range(self.rounds):
                    # So that other load on the machine disturbs all methods alike.
                    for name in np.random.default_rng(number).permutation(list(processes)).tolist():
                        bar.set_postfix_str(name)
                        figures = processes[name].measure(self.images)
                        found[name] += [] if figures is None else [figures]
                        bar.update()
            # A process may have died, and a library may have failed, after some of its passes.
            passes = {name: each if len(each) == self.rounds else [] for name, each in found.items()}
            return [
                self._row(name, passes[name], passes.get(LIMIT, []))
                | {"threads": process.threads, "note": process.note}
                for name, process in processes.items()
            ]

    @contextmanager
    def _processes(self) -> Iterator[dict[str, MethodProcess]]:
        with tempfile.TemporaryDirectory(prefix="losa-bench-") as temporary, ExitStack() as ended:
            files = self._files(Path(temporary))
            processes = {}
            for method in dict.fromkeys(self.methods):
                folder = Path(temporary) / method
                folder.mkdir()
                setting = Setting(
                    method=method,  # type: ignore[arg-type]
                    files=files,
                    folder=str(folder),
                    backbone=self.backbone,
                    checkpoint=self.checkpoint,
                    batch=self.batch,
                    sites=self.sites,
                    codec=self.codec,  # type: ignore[arg-type]
                    dtype=self.dtype,  # type: ignore[arg-type]
                    device=resolve_device(self.device),
                    threads=self.threads,
                    workers=self._workers,
                )
                processes[method] = ended.enter_context(MethodProcess(setting))
            yield processes

    @property
    def _workers(self) -> int:
        return min(usable_cores(), 8) if self.workers is None else self.workers

    def _files(self, temporary: Path) -> Sequence[str]:
        if self.data is not None:
            folder = Path(self.data)
            if not folder.is_dir():
                raise LosaError(f"--data {folder}: there is no such folder")
            return [str(folder / image) for image in FolderWalk(folder).images[: self.images]]
        folder = temporary / "photographs"
        folder.mkdir()
        return make_photographs(folder, min(self.images, MADE_UP), self.size)

    def _row(
        self, name: str, passes: Sequence[dict[str, Any]], limit: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        ratios = [bare["seconds"] / one["seconds"] for bare, one in zip(limit, passes, strict=False)]
        last = passes[-1] if passes else {}
        return {
            "method": name,
            "images_per_s": self.images / median(one["seconds"] for one in passes) if passes else None,
            "ratio_to_forward": median(ratios) if ratios else None,
            "bytes_written": last.get("bytes_written"),
            "peak_bytes": last.get("peak_bytes"),
            "gpu_peak_bytes": last.get("gpu_peak_bytes"),
            "dtype": self.dtype,
            "workers": 0 if name in ("forward", "losa") else self._workers,
        }


def render_extraction(rows: Sequence[dict[str, Any]], benchmark: ExtractionBenchmark) -> Group:
    """Explain the columns, show the rows as a table, and list below it why some have no figures."""
    table = Table()
    table.add_column("method", no_wrap=True)
    for title in ("images/s", "ratio to\nforward", "written", "peak\nmemory"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        ratio = row["ratio_to_forward"]
        table.add_row(
            row["method"],
            "-" if row["images_per_s"] is None else f"{row['images_per_s']:.1f}",
            "-" if ratio is None else f"{ratio:.2f}",
            *("-" if row[name] is None else readable(row[name]) for name in ("bytes_written", "peak_bytes")),
        )
    photographs = (
        f"made-up JPEGs of {benchmark.size} x {benchmark.size}" if benchmark.data is None else benchmark.data
    )
    threads = next((row["threads"] for row in rows if row["threads"] is not None), None)
    explanation = (
        f"{benchmark.backbone} in {benchmark.dtype}, {benchmark.sites} sites; {benchmark.images} images in "
        f"batches of {benchmark.batch}: {photographs}. Medians of {benchmark.rounds} interleaved rounds; "
        f"{threads} threads, and {max(row['workers'] for row in rows)} decoding processes.\n"
        "forward and losa have inputs that are decoded already: forward is the limit, and keeps nothing. "
        f"losa writes a cache in {benchmark.codec} with statistics and checksums; its calibration is not "
        "timed.\n"
        "Peak memory: of the process, without its decoding processes."
    )
    notes = [f"{row['method']}: {row['note']}" for row in rows if row["note"] is not None]
    return Group(explanation, table, *notes)
