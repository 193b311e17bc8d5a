"""Seconds and memory that opening, planning and resuming take on a cache of very many images.

``python -m losa.pipelines.bench.growth '<question as JSON>'`` answers one question in a process of its own,
whose peak memory includes no other question.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from losa.cache_format import Cache, CacheWriter
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.survey import survey_cache
from losa.extract.plan import Plan
from losa.pipelines.bench.machine import peak_memory
from losa.pipelines.bench.reading.noise_cache import SPLIT, NoiseCache, Shape
from losa.pipelines.cache.info import describe


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthBenchmark:
    """A cache of many images with few codes each, so that its files are many and small."""

    images: int = 1_000_000
    sites: int = 12
    """Commit records have a checksum for each site of each image, and statistics of each site."""

    def run(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """Write the cache, unless it is in the folder, and answer every question about it.

        Args:
            folder: where the cache is kept and found again; None for a temporary folder.

        Returns:
            Rows with ``question``, ``seconds``, ``cpu_seconds``, ``peak_bytes`` of the process, and
            ``peak_bytes_before`` the question, when modules and, for planning, the keys of the data set were
            in memory. Bytes are None if the system does not report them.
        """
        with tempfile.TemporaryDirectory(prefix="losa-bench-") as temporary:
            noise = self._noise(folder or Path(temporary))
            noise.write()
            return [self._ask(noise.path.parent, question) for question in QUESTIONS]

    def answer(self, folder: Path, question: str) -> dict[str, Any]:
        """Answer one question in this process."""
        ask = QUESTIONS[question](self._noise(folder))
        before, began, computing = peak_memory(), time.perf_counter(), time.process_time()
        ask()
        return {
            "question": question,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - computing,
            "peak_bytes_before": before,
            "peak_bytes": peak_memory(),
        }

    def _ask(self, folder: Path, question: str) -> dict[str, Any]:
        request = {"images": self.images, "sites": self.sites, "folder": str(folder), "question": question}
        command = [sys.executable, "-m", __name__, json.dumps(request)]
        found: dict[str, Any] = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        )
        return found

    def _noise(self, folder: Path) -> NoiseCache:
        shape = Shape(sites=self.sites, grid=(1, 1), width=8)
        return NoiseCache(folder / f"growth-{self.images}x{self.sites}", "int8", "zarr", self.images, shape)


def growth_table(rows: Sequence[dict[str, Any]], benchmark: GrowthBenchmark) -> Table:
    """The rows as a table."""
    table = Table(title=f"{benchmark.images:,} images, {benchmark.sites} sites", title_justify="left")
    table.add_column("question", no_wrap=True)
    for name in ("seconds", "of CPU", "peak MB", "MB before"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        sizes = [row["peak_bytes"], row["peak_bytes_before"]]
        shown = ["" if size is None else f"{size / 1e6:,.0f}" for size in sizes]
        table.add_row(row["question"], f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", *shown)
    return table


def _open(noise: NoiseCache) -> Callable[[], object]:
    return lambda: Cache(noise.path).split(SPLIT).valid


def _keys(noise: NoiseCache) -> Callable[[], object]:
    return lambda: Cache(noise.path).keys(SPLIT)


def _info(noise: NoiseCache) -> Callable[[], object]:
    return lambda: describe(Cache(noise.path))


def _plan(noise: NoiseCache) -> Callable[[], object]:
    request = noise.request

    def plan() -> Plan:
        surveyed = survey_cache(noise.path, request)
        return Plan.of(surveyed, CommitRecords.read(surveyed.metadata).missing(surveyed.segments))

    return plan


def _resume(noise: NoiseCache) -> Callable[[], object]:
    request, constants = noise.request, noise.constants

    def resume() -> None:
        """Find one shard missing, its record being out of sight, and write nothing."""
        cache = Cache(noise.path)
        (segment,) = cache.manifest.segments
        record = SegmentFiles.of(cache.metadata, segment).commit_path(segment.shards // 2)
        assert isinstance(record, Path), "a cache on this machine"
        hidden = record.rename(record.with_suffix(".tmp"))
        try:
            with CacheWriter(noise.path, request, constants) as writer:
                assert len(writer.missing()) == 1, "the shard is missed"
        finally:
            hidden.rename(record)

    return resume


QUESTIONS: dict[str, Callable[[NoiseCache], Callable[[], object]]] = {
    "open for training": _open,
    "keys": _keys,
    "losa-cache info": _info,
    "plan": _plan,
    "resume": _resume,
}


def main() -> None:
    """Answer the question on the command line."""
    asked = json.loads(sys.argv[1])
    benchmark = GrowthBenchmark(images=asked["images"], sites=asked["sites"])
    print(json.dumps(benchmark.answer(Path(asked["folder"]), asked["question"])))


if __name__ == "__main__":
    main()
