"""Whether a machine only emulates a dtype, in which it is then many times slower than in float32.

Torch is imported when a function is called.
"""

import logging
from functools import cache, partial

from losa.cache_format.common.timing import timed_calls

_log = logging.getLogger(__name__)

SMALL_SIZE = {"cpu": 256, "cuda": 2048}
"""Rows and columns of the products that are compared: 25 ms where a dtype is emulated."""
_REPEATS, _SECONDS = 10, 1.0
EMULATED_RATIO = 2.0
"""A dtype is called emulated if small products take more than this many times as long as in float32.

Where the hardware has bfloat16 they take less time. On a processor with AVX2 alone it was 40 times as long.
"""


def product_rate(dtype: str, device: str, size: int, *, most: int, seconds: float) -> float:
    """Best rate of several products of square matrices, in floating point operations per second.

    Args:
        dtype: torch's name of the dtype.
        device: the device, as torch names it.
        size: rows and columns of the matrices.
        most: number of products, if there is time for all of them.
        seconds: time limit of all products; see `timed_calls`.
    """
    import torch

    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    product = partial(torch.matmul, a, b)
    return 2 * size**3 / min(timed_calls(product, most=most, seconds=seconds, device=device))


def small_rate(dtype: str, device: str) -> float:
    """The rate of products that are small enough to be tried in any dtype; see `product_rate`."""
    size = SMALL_SIZE[device.partition(":")[0]]
    return product_rate(dtype, device, size, most=_REPEATS, seconds=_SECONDS)


def slowdown(dtype: str, device: str) -> float:
    """How many times as long as in float32 a product of small matrices takes in a dtype."""
    return 1.0 if dtype == "float32" else small_rate("float32", device) / small_rate(dtype, device)


@cache
def warn_if_emulated(dtype: str, device: str) -> None:
    """Log a warning, once, if a device only emulates the dtype of the option ``dtype``."""
    ratio = slowdown(dtype, device)
    if ratio > EMULATED_RATIO:
        _log.warning(
            "dtype=%s is emulated on this machine, where its matrix products take %.0f times as long as in "
            "float32: dtype=float32 is faster",
            dtype,
            ratio,
        )
