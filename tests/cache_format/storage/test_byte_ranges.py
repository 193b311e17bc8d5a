import os
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from losa.cache_format import CorruptCache
from losa.cache_format.storage.byte_ranges import LocalRanges, Range, open_ranges


@pytest.fixture
def files(tmp_path):
    """Forty files of 256 bytes: file n holds n, n + 1, ..."""
    paths = [tmp_path / str(number) for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes((number + place) % 256 for place in range(256)))
    return paths


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def check(ranges: LocalRanges, files: list[Path], seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = [
        Range(files[rng.integers(40)], int(rng.integers(200)), np.empty(rng.integers(1, 50), np.uint8))
        for _ in range(60)
    ]
    ranges.fill(wanted)
    for path, offset, buffer in wanted:
        expected = (int(path.name) + offset + np.arange(len(buffer))) % 256
        np.testing.assert_array_equal(buffer, expected)


@pytest.mark.parametrize(("limit", "kept"), [(8, 16), (256, 32), (100_000, 40)])
def test_an_eighth_of_the_descriptors_is_kept_open(files, tmp_path, monkeypatch, limit, kept):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    before = open_descriptors()
    ranges = open_ranges(tmp_path)
    for seed in range(5):
        check(ranges, files, seed)
    assert open_descriptors() - before == kept
    copy = pickle.loads(pickle.dumps(ranges))
    check(copy, files, 9)
    del ranges, copy
    assert open_descriptors() == before


def test_threads_share_them(files, tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (8, 8))
    before = open_descriptors()
    ranges = open_ranges(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: check(ranges, files, seed), range(40)))
    assert open_descriptors() - before == 16


MANY_SHARDS = """
import resource, sys
import numpy as np
from losa.cache_format import Cache

resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
split = Cache(sys.argv[1]).split("all")
codes = split.read(np.arange(len(split))[::-1])
assert len(codes.values) == 60
print(codes.values[:, 0, 0, 0].tolist())
"""


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_a_cache_of_more_files_than_a_process_may_open(tiny, tmp_path, run_python, store):
    keys = tuple(f"{number}.jpg" for number in range(60))
    recipe = tiny.Recipe(store=store, rows_per_shard=1, splits=(("all", keys),), sites=("block.00",), width=2)
    path = recipe.write(tmp_path / "cache")
    expected = recipe.stored(keys[::-1]).values[:, 0, 0, 0].tolist()
    assert run_python(MANY_SHARDS, path) == f"{expected}\n"


def test_files_that_are_gone_or_too_short_are_named(files, tmp_path):
    ranges = open_ranges(tmp_path)
    for offset in (250, 256, 10_000):
        with pytest.raises(CorruptCache, match=rf"{files[3]}: cannot read 10 bytes at {offset}"):
            ranges.fill([Range(files[3], offset, np.empty(10, np.uint8))])
    with pytest.raises(CorruptCache, match="nowhere has vanished since the cache was opened"):
        ranges.fill([Range(tmp_path / "nowhere", 0, np.empty(10, np.uint8))])


def test_linux_reads_two_gibibytes_at_once_and_then_the_rest(files, tmp_path, monkeypatch):
    """preadv reads at most 2 GiB at once, here at most 7 bytes."""
    read = os.preadv
    monkeypatch.setattr(
        os,
        "preadv",
        lambda descriptor, buffers, offset: read(descriptor, [memoryview(buffers[0])[:7]], offset),
    )
    check(open_ranges(tmp_path), files, 0)
