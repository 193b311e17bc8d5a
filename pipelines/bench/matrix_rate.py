"""The rate of matrix products in a dtype, and whether the machine emulates that dtype."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from losa.pipelines.bench.timing import timed_calls

Dtype = Literal["float32", "bfloat16"]

SMALL_SIZE = {"cpu": 256, "cuda": 2048}
"""Rows and columns of the product that is tried first: 25 ms where a dtype is emulated."""
LARGE_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
REPEATS = 10
SMALL_SECONDS, LARGE_SECONDS = 1.0, 5.0
"""Time limits of all products of one size."""
EMULATED_RATIO = 2.0
"""A dtype is called emulated if small products take more than this many times as long as in float32.

Where the hardware has bfloat16 they take less time. On a processor with AVX2 alone it was 40 times as long.
"""


@dataclass(frozen=True, slots=True)
class MatrixRate:
    """How fast a machine multiplies matrices of one dtype."""

    flops_per_second: float
    """Best rate of square products found, in floating point operations per second."""
    emulated: bool


def measure_matrix_rate(dtype: Dtype, device: str) -> MatrixRate:
    """Multiply small matrices, then larger ones if their products should end within the time limit."""
    best = _small_rate(dtype, device)
    for size in LARGE_SIZES[_kind(device)]:
        if REPEATS * _operations(size) / best <= LARGE_SECONDS:
            best = max(best, _rate(dtype, device, size, LARGE_SECONDS))
    return MatrixRate(best, slowdown(dtype, device) > EMULATED_RATIO)


def slowdown(dtype: Dtype, device: str) -> float:
    """How many times as long as in float32 a product of small matrices takes in a dtype."""
    return 1.0 if dtype == "float32" else _small_rate("float32", device) / _small_rate(dtype, device)


def _small_rate(dtype: Dtype, device: str) -> float:
    return _rate(dtype, device, SMALL_SIZE[_kind(device)], SMALL_SECONDS)


def _rate(dtype: Dtype, device: str, size: int, seconds: float) -> float:
    """Best rate of several products of one size."""
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    product = partial(torch.matmul, a, b)
    return _operations(size) / min(timed_calls(product, most=REPEATS, seconds=seconds, device=device))


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _operations(size: int) -> float:
    return 2 * size**3
