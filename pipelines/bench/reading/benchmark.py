"""The speed of reading caches: losa against plain reads of the same bytes and against libraries."""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import numpy as np
from rich.console import Group
from rich.table import Table

from losa.cache_format import Cache, LosaError
from losa.cache_format.codecs import CodecName
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.cache_format.stores import StoreName
from losa.pipelines.bench.machine import available_memory
from losa.pipelines.bench.reading.decoding import decoding_table, measure_decoding
from losa.pipelines.bench.reading.noise_cache import NoiseCache, Shape, refuse_if_disk_is_short
from losa.pipelines.bench.reading.readers import FIRST_PASS, LATER_PASS, PREADV, TimedReader, all_readers
from losa.pipelines.bench.unknown_names import refuse_unknown

ReadOrder = Literal["random", "sequential"]
READ_ORDERS: tuple[ReadOrder, ...] = get_args(ReadOrder)
PART_SECONDS = 0.5
"""Time limit of a pass that need not read every row. The speed is that of the images read until then."""
VIT_B = Shape()


@dataclass(frozen=True, kw_only=True)
class ReadBenchmark:
    """The caches to write and how to read them."""

    codecs: Sequence[str] = ("int8", "float16")
    stores: Sequence[str] = ("zarr", "hdf5")
    gigabytes: float = 1.0
    """Minimum size of each cache, in 10^9 bytes of codes and scales."""
    batch: int = 64
    rounds: int = 5
    seconds: float = 60.0
    """Time limit of a pass, which then ends with the current batch."""
    shape: Shape = field(default_factory=lambda: VIT_B)

    def __post_init__(self) -> None:
        """Refuse options that cannot be measured."""
        for option, values, known in (
            ("--codec", self.codecs, get_args(CodecName)),
            ("--store", self.stores, get_args(StoreName)),
        ):
            refuse_unknown(option, values, known)
        for option, number in (
            ("--gigabytes", self.gigabytes),
            ("--batch", self.batch),
            ("--rounds", self.rounds),
            ("--seconds", self.seconds),
        ):
            if number <= 0:
                raise LosaError(f"{option} {number}: expected more than 0")

    def run(self, folder: Path | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Write the caches, measure every reader on each, in all orders, and then decoding.

        A row of reading has ``reader``, ``store``, ``codec``, ``order``, ``gbps`` (10^9 bytes of codes and
        scales per second, median over rounds) and ``ratio_to_preadv`` (median over rounds of the ratio to one
        thread with plain preadv into used buffers in the same round). Those of decoding are described at
        `measure_decoding`.

        Args:
            folder: where the caches are kept and found again; None for a temporary folder.

        Raises:
            CacheError: the caches do not fit on the disk, or the folder has other caches.

        Returns:
            Rows of reading, and rows of decoding.
        """
        rows, decoding = [], []
        with _folder(folder) as (place, keeps):
            caches = [
                NoiseCache.of_size(place, codec, store, self.gigabytes * 1e9, self.shape)  # type: ignore[arg-type]
                for store in self.stores
                for codec in self.codecs
            ]
            spaces = [cache.space for cache in caches]
            refuse_if_disk_is_short(place, sum(spaces) if keeps else max(spaces))
            for noise in caches:
                _warn_if_not_in_memory(noise)
                cache = noise.write()
                rows += self._measure(noise, cache)
                decoding += measure_decoding(cache, self.rounds, PART_SECONDS)
                if not keeps:
                    noise.remove()
        return rows, decoding

    def _measure(self, noise: NoiseCache, cache: Cache) -> list[dict[str, Any]]:
        noise.warm()
        readers = all_readers(cache, self.batch)
        some = np.random.default_rng(0).permutation(noise.images)[: self.batch]
        for reader in readers:
            _refuse_wrong(noise, reader, some[: reader.most])
        speeds: dict[tuple[str, ReadOrder], list[float]] = {
            (reader.name, order): [] for reader in readers for order in READ_ORDERS
        }
        passes = self.rounds * len(speeds)
        with progress_bar(passes, f"reading {noise.path.name}", "passes", leave=False) as bar:
            for number in range(self.rounds):
                rng = np.random.default_rng(number)
                orders = {"random": rng.permutation(noise.images), "sequential": np.arange(noise.images)}
                # In another order every round, so that other load on the machine disturbs all readers alike.
                for place in rng.permutation(len(speeds)).tolist():
                    reader, order = readers[place // len(READ_ORDERS)], READ_ORDERS[place % len(READ_ORDERS)]
                    seconds, images = _time_pass(reader, orders[order], self.batch, self.seconds)
                    speeds[reader.name, order].append(images * noise.image_bytes / seconds / 1e9)
                    bar.update()
        return [
            {
                "reader": name,
                "store": noise.store,
                "codec": noise.codec,
                "order": order,
                "gbps": median(found),
                "ratio_to_preadv": median(
                    one / plain for one, plain in zip(found, speeds[PREADV, order], strict=True)
                ),
            }
            for (name, order), found in speeds.items()
        ]


def _time_pass(reader: TimedReader, order: np.ndarray, batch: int, limit: float) -> tuple[float, int]:
    """Return the seconds of a pass and the number of images read.

    Args:
        reader: what is timed.
        order: positions of the images.
        batch: images in a read.
        limit: seconds after which the pass ends with the current batch.
    """
    read = reader.start()
    limit = limit if reader.whole else min(limit, PART_SECONDS)
    batch = min(batch, reader.most or batch)
    began = time.perf_counter()
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        read(indices)
        seconds = time.perf_counter() - began
        if seconds > limit:
            return seconds, start + len(indices)
    return seconds, len(order)


def _refuse_wrong(noise: NoiseCache, reader: TimedReader, indices: np.ndarray) -> None:
    """Raise an error if a reader returns other bytes than those that were written."""
    found = reader.start()(indices)
    for position, index in enumerate(indices.tolist()):
        expected = noise.image(index)
        _refuse_unequal(reader, index, expected.values[0], found.values[position])
        if expected.scales is not None:
            _refuse_unequal(
                reader, index, expected.scales[0], None if found.scales is None else found.scales[position]
            )


def _refuse_unequal(reader: TimedReader, index: int, expected: np.ndarray, found: np.ndarray | None) -> None:
    same = found is not None and (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if not same or not np.array_equal(np.asarray(found).view(np.uint8), expected.view(np.uint8)):
        raise RuntimeError(f"{reader.name}: image {index} is not what was written")


@contextmanager
def _folder(folder: Path | None) -> Iterator[tuple[Path, bool]]:
    """Yield the folder, and whether caches are kept there."""
    if folder is not None:
        yield folder, True
        return
    with tempfile.TemporaryDirectory(prefix="losa-bench-") as temporary:
        yield Path(temporary), False


def _warn_if_not_in_memory(noise: NoiseCache) -> None:
    available = available_memory()
    if available is not None and noise.bytes > available:
        print(
            f"warning: {noise.path.name} has {readable(noise.bytes)}, {readable(available)} of memory are "
            "available: these figures will be the disk's",
            file=sys.stderr,
        )


def render_reads(
    rows: Sequence[dict[str, Any]], decoding: Sequence[dict[str, Any]], benchmark: ReadBenchmark
) -> Group:
    """Explain the columns and show tables for each cache."""
    parts: list[Any] = [
        f"Images of {benchmark.shape} from a warm page cache, in batches of {benchmark.batch}. "
        f"GB/s: 10^9 bytes of codes and scales per second, median of {benchmark.rounds} interleaved rounds.\n"
        f"x: ratio to {PREADV}, one thread that reads the same bytes into memory that was used before.\n"
        f"A pass reads every row of at least {benchmark.gigabytes:g} GB once, or ends after "
        f"{benchmark.seconds:g} s; passes of zarr-python and h5py's index list end after "
        f"{PART_SECONDS:g} s (zarr-python's oindex in batches of 8).\n"
        "losa, preadv, and memmap and h5py per image read into memory that was used before, "
        "except those called fresh; all others allocate. Index lists are sorted first.\n"
        "losa's first pass verifies every checksum of a newly opened split; opening is not timed. "
        "zarr-python and tensorstore verify zarr's own checksums in every pass. No reader decodes.\n"
        "Decoding is of codes in memory, as many images as a training step decodes at once. x fresh: ratio "
        "to decoding into newly allocated memory.",
    ]
    for store, codec in dict.fromkeys((row["store"], row["codec"]) for row in rows):
        mine = [row for row in rows if (row["store"], row["codec"]) == (store, codec)]
        parts += ["", _table(f"{codec} in {store}", mine), _checksums(mine)]
        decoded = [row for row in decoding if (row["store"], row["codec"]) == (store, codec)]
        if decoded:
            parts.append(decoding_table(decoded))
    return Group(*parts)


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("reader", no_wrap=True)
    for order in READ_ORDERS:
        table.add_column(f"{order} GB/s", justify="right", no_wrap=True)
        table.add_column("x", justify="right", no_wrap=True)
    for reader in dict.fromkeys(row["reader"] for row in rows):
        cells = []
        for order in READ_ORDERS:
            (row,) = (row for row in rows if (row["reader"], row["order"]) == (reader, order))
            cells += [f"{row['gbps']:.2f}", f"{row['ratio_to_preadv']:.2f}"]
        table.add_row(reader, *cells)
    return table


def _checksums(rows: Sequence[dict[str, Any]]) -> str:
    speed = {row["reader"]: row["ratio_to_preadv"] for row in rows if row["order"] == "random"}
    share = 1 - speed[FIRST_PASS] / speed[LATER_PASS]
    return f"Checksums cost {share:.0%} of the speed, once: {FIRST_PASS} against {LATER_PASS}, random order."
