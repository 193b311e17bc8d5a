import errno
import threading
import time

import numpy as np
import pytest

from losa.cache_format import Cache, CacheError, Codes, SiteStatistics
from losa.cache_format.shards.shard_writer import ShardWriter
from losa.cache_format.storage.atomic_writes import TEMPORARY_SUFFIX
from losa.extract.encoded_batches import EncodedBatch, ShardBatch
from losa.extract.shard_thread import ShardThread


@pytest.fixture
def cut():
    """``cut(writer, size)``: the batches of every missing shard; image n holds the number n."""

    def cut(writer, size=3):
        batches = []
        for segment, shard in writer.missing():
            rows = segment.rows(shard)
            for start in rows[::size]:
                numbers = np.arange(start, min(start + size, rows.stop))
                values = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 2, 3, 4))
                statistics = SiteStatistics(
                    count=12 * len(numbers),
                    minimum=float(numbers.min()),
                    maximum=float(numbers.max()),
                    sum_squares=float(12 * (numbers**2).sum()),
                    error_sum_squares=0.0,
                )
                keys = [f"{n}.png" for n in numbers]
                batches.append(
                    EncodedBatch(
                        rows=ShardBatch(segment, shard, keys, keys),
                        codes=Codes(values.astype(np.float16)),
                        statistics=[statistics] * 2,
                        outcomes=[bytes([n] * 16) for n in numbers],
                        turned=0,
                        warnings=(),
                    )
                )
        return batches

    return cut


@pytest.fixture
def failing(monkeypatch):
    """``failing(row, error)``: the writer fails when the batch that starts there is appended to a shard."""

    def install(row, error):
        append = ShardWriter.append

        def appending(self, codes, outcomes, statistics):
            if outcomes[0] == bytes([row] * 16):
                raise error
            append(self, codes, outcomes, statistics)

        monkeypatch.setattr(ShardWriter, "append", appending)

    return install


def _committed(writer):
    folder = writer.path / "arrays.zarr/segments/train/codes"
    return sorted(path.name for path in folder.iterdir() if path.name != "zarr.json")


def _shards(*numbers):
    return sorted([f"c.{n}.0.0.0" for n in numbers] + [f"commit.{n}.json" for n in numbers])


def test_batches_become_shards_in_order(toy_writer, cut, within):
    with toy_writer() as writer:

        def produce():
            with ShardThread(writer) as shards:
                for batch in cut(writer):
                    shards.put(batch)

        within(20, produce)
        assert _committed(writer) == _shards(0, 1, 2)
        assert writer.missing() == []
        split = Cache(writer.path).split("train")
        read = split.read(np.arange(10)).values
        assert np.array_equal(read[:, 1, 2, 3], np.arange(10))
        (segment,) = writer.manifest.segments
        statistics = [writer.files(segment).commit(shard).statistics[1] for shard in range(3)]
        assert [(entry.minimum, entry.maximum) for entry in statistics] == [(0, 3), (4, 7), (8, 9)]
        assert sum(entry.sum_squares for entry in statistics) == 12 * (np.arange(10) ** 2).sum()


def test_a_shard_counts_as_soon_as_its_last_row_is_written(toy_writer, cut, within):
    with toy_writer() as writer:
        first, second, *_ = cut(writer)

        def produce():
            with ShardThread(writer) as shards:
                shards.put(first)
                shards.put(second)
                deadline = time.monotonic() + 10
                while _committed(writer) != _shards(0) and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert _committed(writer) == _shards(0)

        within(20, produce)


@pytest.mark.parametrize("row", [0, 3, 4, 8])
def test_an_error_of_the_writer_reaches_the_producer(toy_writer, cut, failing, within, row):
    error = RuntimeError("the disk is on fire")
    failing(row, error)
    with toy_writer() as writer:
        batches = cut(writer)

        def produce():
            with ShardThread(writer) as shards:
                for batch in batches:
                    shards.put(batch)

        with pytest.raises(RuntimeError) as caught:
            within(20, produce)
        assert caught.value is error
        assert _committed(writer) == _shards(*range(row // 4))
        assert [shard for _, shard in writer.missing()] == list(range(row // 4, 3))


def test_an_endless_producer_is_stopped_by_the_writers_error(toy_writer, cut, failing, within):
    failing(4, RuntimeError("stop"))
    with toy_writer() as writer:
        first, second, third, *_ = cut(writer)
        put = []

        def produce():
            with ShardThread(writer) as shards:
                shards.put(first)
                shards.put(second)
                while True:
                    shards.put(third)
                    put.append(1)

        with pytest.raises(RuntimeError, match="stop"):
            within(20, produce)


def test_a_full_disk_says_how_to_go_on(toy_writer, cut, failing, within):
    failing(4, OSError(errno.ENOSPC, "No space left on device"))
    with toy_writer() as writer:
        batches = cut(writer)

        def produce():
            with ShardThread(writer) as shards:
                for batch in batches:
                    shards.put(batch)

        with pytest.raises(CacheError, match=r"no space left for shard 1 .* run the same command again"):
            within(20, produce)
        assert _committed(writer) == _shards(0)


@pytest.mark.parametrize("put", range(4))
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_a_producer_that_stops_in_mid_shard_leaves_nothing_half_written(toy_writer, cut, within, put, error):
    with toy_writer() as writer:
        batches = cut(writer)

        def produce():
            with ShardThread(writer) as shards:
                for batch in batches[:put]:
                    shards.put(batch)
                if error is not None:
                    raise error

        if error is None:
            within(20, produce)
        else:
            with pytest.raises(KeyboardInterrupt):
                within(20, produce)
        assert _committed(writer) == _shards(*range(put // 2))
        assert not list(writer.path.rglob(f"*{TEMPORARY_SUFFIX}"))
        # And what is missing can be written at once, by the same writer.
        with ShardThread(writer) as shards:
            for batch in cut(writer):
                shards.put(batch)
        assert _committed(writer) == _shards(0, 1, 2)


def test_an_error_while_a_shard_is_given_up_is_no_deadlock(toy_writer, cut, within, monkeypatch):
    """As when a full disk refuses the last buffered bytes while the file is closed."""
    with toy_writer() as writer:
        batches = cut(writer)
        open_shard = writer.shard

        class Failing:
            def __init__(self, segment, shard):
                self.inner = open_shard(segment, shard)

            def __enter__(self):
                return self.inner.__enter__()

            def __exit__(self, kind, error, trace):
                self.inner.__exit__(kind, error, trace)
                raise OSError(errno.EIO, "cannot close")

        monkeypatch.setattr(writer, "shard", Failing)

        def produce():
            with ShardThread(writer) as shards:
                shards.put(batches[0])

        with pytest.raises(OSError, match="cannot close"):
            within(20, produce)


def test_the_producers_own_error_is_not_hidden_by_the_writers(toy_writer, cut, failing, within):
    failing(0, RuntimeError("of the writer"))
    with toy_writer() as writer:
        first, *_ = cut(writer)

        def produce():
            with ShardThread(writer) as shards:
                shards.put(first)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            within(20, produce)


def test_no_thread_outlives_its_block(toy_writer, cut, failing):
    failing(4, RuntimeError("stop"))
    with toy_writer() as writer:
        batches = cut(writer)
        with ShardThread(writer) as shards:
            assert "losa-shards" not in {thread.name for thread in threading.enumerate()}
            shards.put(batches[0])
            assert "losa-shards" in {thread.name for thread in threading.enumerate()}
        with pytest.raises(RuntimeError, match="stop"), ShardThread(writer) as shards:
            for batch in batches:
                shards.put(batch)
    assert "losa-shards" not in {thread.name for thread in threading.enumerate()}
