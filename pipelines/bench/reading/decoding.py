"""The speed of decoding codes in memory to float32 on this processor, and what limits it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.table import Table

from losa.adapt.training.working_set import CPU_MICRO_BATCH_IMAGES
from losa.cache_format import Cache
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.pipelines.bench.reading.noise_cache import SPLIT

FRESH = "into fresh memory"
REUSED = "into used memory"
CAST = "limit: cast of the codes alone"
COPY = "limit: copy of as many float32"


def measure_decoding(cache: Cache, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Decode as many images as a step of training does at least, with one thread and with torch's number.

    Args:
        cache: the cache. One of codec float32 has nothing to decode, and no rows.
        rounds: how often each way is timed, in turn with the others.
        seconds: duration of one timing.

    Returns:
        Rows with ``store``, ``codec``, ``threads``, ``way``, ``gbps`` (10^9 bytes of codes and scales per
        second) and ``float_gbps`` (10^9 bytes of float32 per second), both medians over rounds, and
        ``ratio_to_fresh`` (median over rounds of the ratio to decoding into fresh memory in the same round).

    Raises:
        RuntimeError: other values are decoded than those of the numpy reference.
    """
    manifest = cache.manifest
    if manifest.features.codec == "float32":
        return []
    split = cache.split(SPLIT)
    stored = split.read(np.arange(min(CPU_MICRO_BATCH_IMAGES, len(split))))
    codec = DeviceCodec(manifest.features.codec, cache.calibration(split.sites), "cpu")
    codes = codec.to_device(stored)
    out, floats = torch.zeros(codec.decoded_shape(codes)), torch.zeros(codec.decoded_shape(codes))
    if not np.array_equal(codec.decode(codes, out).numpy(), cache.codec(split.sites).decode(stored)):
        raise RuntimeError("decoding: other values than those of the reference")
    # int4 has two codes in a byte: its limit is the cast of as many bytes as there are codes.
    values = codes.values if codes.values.shape == out.shape else torch.zeros(out.shape, dtype=torch.int8)
    ways: dict[str, Callable[[], object]] = {
        FRESH: lambda: codec.decode(codes),
        REUSED: lambda: codec.decode(codes, out),
        CAST: lambda: out.copy_(values),
        COPY: lambda: out.copy_(floats),
    }
    rows = []
    for threads in sorted({1, torch.get_num_threads()}):
        with _threads(threads):
            found = [
                {way: _calls_per_second(run, seconds) for way, run in ways.items()} for _ in range(rounds)
            ]
        rows += [
            {
                "store": manifest.store,
                "codec": manifest.features.codec,
                "threads": threads,
                "way": way,
                "gbps": median(one[way] for one in found) * stored.nbytes / 1e9,
                "float_gbps": median(one[way] for one in found) * out.nbytes / 1e9,
                "ratio_to_fresh": median(one[way] / one[FRESH] for one in found),
            }
            for way in ways
        ]
    return rows


def decoding_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of one cache as a table."""
    table = Table(title="decoding to float32", title_justify="left")
    table.add_column("way", no_wrap=True)
    for name in ("threads", "codes GB/s", "float32 GB/s", "x fresh"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        numbers = [f"{row[name]:.2f}" for name in ("gbps", "float_gbps", "ratio_to_fresh")]
        table.add_row(row["way"], str(row["threads"]), *numbers)
    return table


def _calls_per_second(run: Callable[[], object], seconds: float) -> float:
    calls, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or not calls:
        run()
        calls += 1
    return calls / passed


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
