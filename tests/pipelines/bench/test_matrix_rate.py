"""The rate of matrix products on a machine whose speed is made up."""

import pytest
import torch

from losa.cache_format.common import emulated_dtypes
from losa.cache_format.common.emulated_dtypes import slowdown
from losa.pipelines.bench.matrix_rate import measure_matrix_rate


@pytest.fixture
def bfloat16_rate(monkeypatch):
    """Set the operations per second in bfloat16 and return the list of sizes that are multiplied in it.

    In float32 there are 1e11.
    """

    def set_rate(rate):
        sizes = []

        def timed(product, *, most, seconds, device):
            a, _ = product.args
            if a.dtype == torch.bfloat16:
                sizes.append(len(a))
            return [2 * len(a) ** 3 / (rate if a.dtype == torch.bfloat16 else 1e11)]

        monkeypatch.setattr(emulated_dtypes, "timed_calls", timed)
        return sizes

    return set_rate


@pytest.mark.parametrize(
    ("rate", "expected", "emulated"),
    [
        (2e11, {256, 1024, 2048}, False),
        (6e10, {256, 1024, 2048}, False),
        (1.4e9, {256}, True),
        (1e8, {256}, True),
    ],
)
def test_large_products_are_left_out_where_they_take_long(bfloat16_rate, rate, expected, emulated):
    sizes = bfloat16_rate(rate)
    found = measure_matrix_rate("bfloat16", "cpu")
    assert found.flops_per_second == pytest.approx(rate)
    assert found.emulated == emulated
    assert set(sizes) == expected


def test_float32_is_never_emulated(bfloat16_rate):
    bfloat16_rate(1e8)
    assert slowdown("float32", "cpu") == 1
    assert not measure_matrix_rate("float32", "cpu").emulated
