"""The rate of matrix products in a dtype, and whether the machine emulates that dtype."""

from dataclasses import dataclass
from typing import Literal

from losa.cache_format.common.emulated_dtypes import EMULATED_RATIO, product_rate, slowdown, small_rate

Dtype = Literal["float32", "bfloat16"]

LARGE_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
REPEATS = 10
LARGE_SECONDS = 5.0
"""Time limit of all products of one size."""


@dataclass(frozen=True, slots=True)
class MatrixRate:
    """How fast a machine multiplies matrices of one dtype."""

    flops_per_second: float
    """Best rate of square products found, in floating point operations per second."""
    emulated: bool


def measure_matrix_rate(dtype: Dtype, device: str) -> MatrixRate:
    """Multiply small matrices, then larger ones if their products should end within the time limit."""
    best = small_rate(dtype, device)
    for size in LARGE_SIZES[device.partition(":")[0]]:
        if REPEATS * 2 * size**3 / best <= LARGE_SECONDS:
            best = max(best, product_rate(dtype, device, size, most=REPEATS, seconds=LARGE_SECONDS))
    return MatrixRate(best, slowdown(dtype, device) > EMULATED_RATIO)
