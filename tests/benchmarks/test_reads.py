"""Random batches from a warm page cache: our reader, plain positioned reads of the same bytes, zarr-python.

All move the same 116 MB a round, so the ratio of the medians is the ratio of the speeds.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from pytest_benchmark.fixture import BenchmarkFixture

from losa.cache_format import Cache

BATCH = 32
IMAGE = (12, 197, 768)


@pytest.fixture
def order() -> np.ndarray:
    return np.random.default_rng(1).permutation(128)[:BATCH]


def losa_verified_before(path: Path, order: np.ndarray) -> Callable[[], np.ndarray]:
    split = Cache(path).split("train")
    split.read(order)
    return lambda: split.read(order).values


def losa_first_touch(path: Path, order: np.ndarray) -> Callable[[], np.ndarray]:
    cache = Cache(path)
    return lambda: cache.split("train").read(order).values


def preadv(path: Path, order: np.ndarray) -> Callable[[], np.ndarray]:
    folder = path / "arrays.zarr/segments/train/codes"
    descriptors = [os.open(folder / f"c.{shard}.0.0.0", os.O_RDONLY) for shard in range(4)]
    stride = int(np.prod(IMAGE)) * 2 + 4

    def read() -> np.ndarray:
        out = np.empty((len(order), *IMAGE), np.float16)
        for position, row in enumerate(order.tolist()):
            os.preadv(descriptors[row // 32], [out[position].data.cast("B")], row % 32 * stride)
        return out

    return read


def zarr_image_by_image(path: Path, order: np.ndarray) -> Callable[[], np.ndarray]:
    codes = zarr.open(path / "arrays.zarr", mode="r")["segments/train/codes"]
    return lambda: np.stack([codes[row] for row in order.tolist()])


READERS = [preadv, losa_verified_before, losa_first_touch, zarr_image_by_image]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_random_batch(
    benchmark: BenchmarkFixture,
    vit_b_cache: Path,
    order: np.ndarray,
    reader: Callable[[Path, np.ndarray], Callable[[], np.ndarray]],
) -> None:
    benchmark.group = "random batch of 32 images, 12 x 197 x 768 float16"
    values = benchmark(reader(vit_b_cache, order))
    np.testing.assert_array_equal(values, preadv(vit_b_cache, order)())
