"""losa-bench reads on caches of a few kilobytes: its output, not its speed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.pipelines.bench.machine import describe_machine
from losa.pipelines.bench.reading import benchmark, noise_cache
from losa.pipelines.bench.reading.benchmark import ReadBenchmark, render_reads
from losa.pipelines.bench.reading.decoding import CAST, COPY, FRESH, REUSED, measure_decoding
from losa.pipelines.bench.reading.noise_cache import NoiseCache, Shape
from losa.pipelines.bench.reading.readers import all_readers

TINY = Shape(sites=3, grid=(2, 2), width=8)
FEW = ReadBenchmark(gigabytes=2e-5, batch=7, rounds=2, shape=TINY)
BOTH = {
    "preadv",
    "preadv, fresh",
    "losa, first pass",
    "losa, later pass",
    "losa, first pass, fresh",
    "memmap, per image",
    "memmap, index list",
}
OF_STORE = {
    "zarr": {"zarr-python, per image", "zarr-python, oindex"},
    "hdf5": {"h5py, per image", "h5py, index list"},
}


@pytest.fixture(scope="module")
def quick_and_two_threads():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("losa.pipelines.bench.reading.readers.default_threads", lambda: 2)
        patch.setattr(benchmark, "PART_SECONDS", 0.02)
        yield


@pytest.fixture(scope="module")
def measured(quick_and_two_threads, tmp_path_factory):
    return FEW.run(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def rows(measured):
    return measured[0]


@pytest.fixture
def decoding(measured):
    return measured[1]


@pytest.fixture
def tiny_images(monkeypatch):
    monkeypatch.setattr(benchmark, "VIT_B", TINY)


def test_every_reader_has_a_row_for_each_cache_and_order(rows):
    assert all(list(row) == ["reader", "store", "codec", "order", "gbps", "ratio_to_preadv"] for row in rows)
    threads = {"preadv, 2 threads", "losa, first pass, 1 thread", "losa, later pass, 1 thread"}
    for store, libraries in OF_STORE.items():
        for codec in ("int8", "float16"):
            for order in ("random", "sequential"):
                mine = [
                    row for row in rows if (row["store"], row["codec"], row["order"]) == (store, codec, order)
                ]
                names = [row["reader"] for row in mine]
                assert len(names) == len(set(names))
                assert set(names) - {"tensorstore, futures"} == BOTH | libraries | threads
                assert {row["ratio_to_preadv"] for row in mine if row["reader"] == "preadv"} == {1}
    assert all(row["gbps"] > 0 < row["ratio_to_preadv"] for row in rows)


def test_decoding_has_rows_of_its_own_with_its_limits(decoding):
    fields = ["store", "codec", "threads", "way", "gbps", "float_gbps", "ratio_to_fresh"]
    assert all(list(row) == fields for row in decoding)
    for store in OF_STORE:
        for codec in ("int8", "float16"):
            mine = [row for row in decoding if (row["store"], row["codec"]) == (store, codec)]
            assert [row["way"] for row in mine[:4]] == [FRESH, REUSED, CAST, COPY]
            assert mine[0]["threads"] == 1
            assert {row["ratio_to_fresh"] for row in mine if row["way"] == FRESH} == {1}
            # 8 codes and a scale, or 8 codes of two bytes, become 32 bytes.
            size = {"int8": 12, "float16": 16}[codec]
            assert all(row["float_gbps"] == pytest.approx(row["gbps"] * 32 / size) for row in mine)


def test_float32_has_nothing_to_decode(tmp_path):
    cache = NoiseCache(tmp_path / "noise", "float32", "zarr", 3, TINY).write()
    assert measure_decoding(cache, rounds=1, seconds=0.001) == []


def test_wrong_decoding_is_not_timed(tmp_path, monkeypatch):
    cache = NoiseCache(tmp_path / "noise", "int4", "zarr", 3, TINY).write()
    decode = DeviceCodec.decode
    monkeypatch.setattr(DeviceCodec, "decode", lambda self, codes, out=None: decode(self, codes, out) + 1)
    with pytest.raises(RuntimeError, match="decoding: other values than those of the reference"):
        measure_decoding(cache, rounds=1, seconds=0.001)


@pytest.mark.parametrize("codec", ["int8", "float16", "int4", "bfloat16"])
@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_all_readers_give_the_same_images(quick_and_two_threads, tmp_path, codec, store):
    noise = NoiseCache(tmp_path / "noise", codec, store, 150, TINY)
    readers = all_readers(noise.write(), 20)
    assert len(readers) >= 12
    rng = np.random.default_rng(0)
    for reader in readers:
        read = reader.start()
        for indices in (np.arange(20), rng.permutation(150)[:20], np.array([149])):
            benchmark._refuse_wrong(noise, replace(reader, start=lambda read=read: read), indices)


def test_noise_is_different_in_every_image_and_the_same_in_every_run(tmp_path):
    noise = NoiseCache(tmp_path / "a", "int8", "zarr", 150, TINY)
    images = {noise.image(index).values.tobytes() for index in range(150)}
    assert len(images) == 150
    again = NoiseCache(tmp_path / "b", "int8", "zarr", 150, TINY)
    np.testing.assert_array_equal(again.image(77).values, noise.image(77).values)


def test_a_reader_that_gives_other_bytes_is_not_timed(quick_and_two_threads, tmp_path):
    noise = NoiseCache(tmp_path / "noise", "int8", "zarr", 30, TINY)
    reader = all_readers(noise.write(), 7)[0]
    others = replace(reader, start=lambda: lambda indices: reader.start()(indices[::-1]))
    with pytest.raises(RuntimeError, match="preadv: image 3 is not what was written"):
        benchmark._refuse_wrong(noise, others, np.arange(3, 7))


def test_a_pass_reads_every_row_but_where_a_part_has_to_do(monkeypatch):
    monkeypatch.setattr(benchmark, "PART_SECONDS", 0.0)
    seen = []
    reader = benchmark.TimedReader("one", lambda: seen.extend)
    assert benchmark._time_pass(reader, np.arange(10), 4, 60)[1] == 10
    assert seen == list(range(10))
    assert benchmark._time_pass(replace(reader, whole=False), np.arange(10), 4, 60)[1] == 4
    assert benchmark._time_pass(replace(reader, whole=False, most=3), np.arange(10), 4, 60)[1] == 3


def test_a_pass_ends_at_its_time_limit():
    reader = benchmark.TimedReader("one", lambda: lambda indices: None)
    assert benchmark._time_pass(reader, np.arange(10), 4, 0)[1] == 4


def test_caches_in_a_folder_stay_and_are_read_again(tmp_path):
    few = replace(FEW, codecs=["int8"], stores=["zarr"], rounds=1)
    few.run(tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.0.0.0")}
    assert before
    few.run(tmp_path / "kept")
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.0.0.0")} == before


def test_a_temporary_folder_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    replace(FEW, codecs=["int8"], stores=["zarr"], rounds=1).run()
    assert not list(tmp_path.iterdir())


def test_the_command_prints_json_and_nothing_else(command, tiny_images, tmp_path):
    options = "--gigabytes 1e-5 --rounds 1 --batch 5 --codec int8 --store zarr"
    finished = command(tmp_path, "losa-bench", "reads", *options.split(), "--json")
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    assert list(told) == ["rows", "decoding", "machine"]
    assert {(row["store"], row["codec"]) for row in told["rows"]} == {("zarr", "int8")}
    assert told["machine"].keys() == describe_machine().keys()


def test_the_command_prints_a_table_for_each_cache(command, tiny_images, tmp_path):
    options = "--gigabytes 1e-5 --rounds 1 --codec int8 --codec float16 --store hdf5"
    finished = command(tmp_path, "losa-bench", "reads", *options.split())
    assert finished.returncode == 0, finished.stderr
    for words in (
        "3 x 5 x 8",
        "int8 in hdf5",
        "float16 in hdf5",
        "h5py, index list",
        "Checksums cost",
        "into used memory",
    ):
        assert words in finished.stdout


def test_the_table_holds_the_numbers():
    from rich.console import Console

    row = {"store": "zarr", "codec": "int8"}
    rows = [
        {"reader": reader, **row, "order": order, "gbps": gbps, "ratio_to_preadv": gbps / 8}
        for reader, gbps in (("preadv", 8.0), ("losa, first pass", 6.0), ("losa, later pass", 7.5))
        for order in ("random", "sequential")
    ]
    console = Console(width=100, record=True)
    console.print(render_reads(rows, [], FEW))
    text = console.export_text()
    assert "0.94" in text
    assert "Checksums cost 20% of the speed" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--store zar", "error: --store zar: expected one of zarr, hdf5; did you mean 'zarr'?\n"),
        (
            "--codec int9",
            "error: --codec int9: expected one of float32, float16, bfloat16, int8, int4; "
            "did you mean 'int8'?\n",
        ),
        ("--rounds 0", "error: --rounds 0: expected more than 0\n"),
        ("--seconds 0", "error: --seconds 0.0: expected more than 0\n"),
        ("--gigabytes -1", "error: --gigabytes -1.0: expected more than 0\n"),
    ],
)
def test_options_that_cannot_be_are_answered_in_words(command, tmp_path, options, message):
    finished = command(tmp_path, "losa-bench", "reads", *options.split())
    assert (finished.returncode, finished.stdout, finished.stderr) == (1, "", message)


def test_too_little_space_is_told_before_anything_is_written(command, tmp_path):
    finished = command(tmp_path, "losa-bench", "reads", "--gigabytes", "1e9", "--folder", "caches")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("error: not enough space: 4")
    assert "are free. Take a smaller --gigabytes, or a --folder on another disk" in finished.stderr
    assert not list(tmp_path.iterdir())


def test_another_cache_in_the_folder_is_refused(tmp_path):
    few = replace(FEW, codecs=["int8"], stores=["zarr"])
    noise = NoiseCache.of_size(tmp_path, "int8", "zarr", few.gigabytes * 1e9, TINY)
    replace(noise, store="hdf5").write()
    with pytest.raises(CacheError, match="store"):
        few.run(tmp_path)
    assert Cache(noise.path).manifest.store == "hdf5"


def test_caches_larger_than_memory_are_warned_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "available_memory", lambda: 1000)
    replace(FEW, codecs=["int8"], stores=["zarr"], rounds=1).run(tmp_path)
    assert "1.0 kB of memory are available: these figures will be the disk's" in capsys.readouterr().err


def test_the_space_of_a_cache_is_what_it_takes(tmp_path):
    for store in ("zarr", "hdf5"):
        noise = NoiseCache(tmp_path / store, "int8", store, 150, TINY)
        expected = noise.space
        noise.write()
        shards = [path for path in noise.path.rglob("*") if path.name.startswith(("c.", "shard."))]
        taken = sum(
            path.stat().st_size for path in shards if path.parent.name in ("codes", "scales", "train")
        )
        assert taken <= expected <= 1.5 * taken
        assert noise.space == 0
    assert noise_cache.DISK_MARGIN > 1
