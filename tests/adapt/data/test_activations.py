import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from losa.adapt import CachedActivations
from losa.adapt.data.activations import AHEAD, read_ahead
from losa.adapt.data.reused_memory import ReusedMemory
from losa.cache_format import Cache
from losa.cache_format.codecs import CodecName

BATCHES = [np.array([number, number + 1]) for number in range(0, 40, 2)]


@dataclass(frozen=True)
class Numbers:
    """A batch whose activations are the indices of its images."""

    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def decode(self, images: slice | torch.Tensor, memory: ReusedMemory | None = None) -> torch.Tensor:
        return torch.from_numpy(self.indices)[images].float()[:, None, None, None]

    def copy(self) -> "Numbers":
        return Numbers(self.indices.copy())

    def copy_from(self, other: "Numbers") -> None:
        self.indices[:] = other.indices


class Recording:
    """A source that records the first position of every batch it reads."""

    def __init__(self, bad: int | None = None) -> None:
        self.bad = bad
        self.requested: list[int] = []
        self.threads: set[str] = set()

    def read(self, indices: np.ndarray) -> Numbers:
        self.requested.append(int(indices[0]))
        self.threads.add(threading.current_thread().name)
        if indices[0] == self.bad:
            raise OSError(f"cannot read {self.bad}")
        return Numbers(indices)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert not reading_threads()


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("losa-read")]


def test_batches_come_in_order() -> None:
    found = [batch.decode(slice(None)).flatten().tolist() for batch in read_ahead(Recording(), BATCHES)]
    assert found == [batch.tolist() for batch in BATCHES]


def test_one_thread_of_its_own_reads_in_order() -> None:
    source = Recording()
    assert len(list(read_ahead(source, BATCHES))) == len(BATCHES)
    assert source.requested == [int(batch[0]) for batch in BATCHES]
    assert len(source.threads) == 1
    assert threading.current_thread().name not in source.threads


def test_no_more_than_a_few_batches_are_held() -> None:
    source = Recording()
    for consumed, _ in enumerate(read_ahead(source, BATCHES), start=1):
        assert len(source.requested) <= consumed + AHEAD


def test_the_next_batches_are_read_while_one_is_used() -> None:
    source = Recording()
    started = threading.Event()
    read = source.read

    def reading(indices: np.ndarray) -> Numbers:
        if len(source.requested) == AHEAD:
            started.set()
        return read(indices)

    source.read = reading  # type: ignore[method-assign]
    batches = read_ahead(source, BATCHES)
    next(batches)
    assert started.wait(timeout=10)
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1])
def test_few_batches(count: int) -> None:
    assert len(list(read_ahead(Recording(), BATCHES[:count]))) == count


@pytest.mark.parametrize("bad", [0, 6, 38])
def test_an_error_reaches_the_consumer_after_the_batches_before_it(bad: int) -> None:
    found = []
    with pytest.raises(OSError, match=f"^cannot read {bad}$"):
        for batch in read_ahead(Recording(bad), BATCHES):
            found.append(batch.decode(slice(1)).item())
    assert found == list(range(0, bad, 2))


def test_a_consumer_that_leaves_stops_the_thread() -> None:
    source = Recording()
    batches = read_ahead(source, BATCHES)
    next(batches)
    assert reading_threads()
    batches.close()  # type: ignore[attr-defined]
    assert not reading_threads()
    assert len(source.requested) <= 1 + AHEAD


def test_reads_that_have_not_begun_are_cancelled() -> None:
    source = Recording()
    read, begun, release = source.read, threading.Event(), threading.Event()

    def waiting(indices: np.ndarray) -> Numbers:
        if indices[0] > 0:
            begun.set()
            release.wait(timeout=10)
        return read(indices)

    source.read = waiting  # type: ignore[method-assign]
    batches = read_ahead(source, BATCHES)
    next(batches)
    assert begun.wait(timeout=10)
    threading.Timer(0.2, release.set).start()
    batches.close()  # type: ignore[attr-defined]
    assert source.requested == [0, 2]


def test_a_consumer_that_fails_stops_the_thread() -> None:
    def consume() -> None:
        for _ in read_ahead(Recording(), BATCHES):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()


@pytest.mark.parametrize("codec", get_args(CodecName))
def test_cached_activations_are_those_of_the_numpy_codec(
    codec: CodecName, toy_cache: Any, tmp_path: Path
) -> None:
    recipe = replace(toy_cache, codec=codec)
    cache = Cache(recipe.write(tmp_path / "cache"))
    for sites in ("all", ["embed", "block.02"], ["block.01"]):
        split = cache.split("val", sites)
        indices = np.array([7, 0, 0, 3])
        batch = CachedActivations(split, "cpu").read(indices)
        assert len(batch) == 4
        found = batch.decode(slice(None))
        assert found.dtype == torch.float32
        expected = cache.codec(split.sites).decode(split.read(indices))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)

        memory = ReusedMemory()
        for part in (slice(1, 3), torch.tensor([3, 0, 0]), torch.tensor([], dtype=torch.int64), slice(None)):
            assert torch.equal(batch.decode(part), found[part])
            assert torch.equal(batch.decode(part, memory), found[part])

        copied, found = batch.copy(), found.clone()  # float32 codes are decoded in place
        batch.copy_from(CachedActivations(split, "cpu").read(indices[::-1].copy()))
        assert torch.equal(batch.decode(slice(None)), found.flip(0))
        assert torch.equal(copied.decode(slice(None)), found)

        stored = recipe.activations("val")[indices][:, [recipe.sites.index(site) for site in split.sites]]
        tolerance = {"float32": 0, "float16": 2e-3, "bfloat16": 2e-2, "int8": 5e-2, "int4": 1.0}[codec]
        np.testing.assert_allclose(found.numpy(), stored, rtol=0, atol=tolerance)
