"""The kernels of processors, and threads that share their work."""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from losa.adapt.kernels.compiling import architecture, library_path
from losa.cache_format.common.work_threads import WorkThreads

_X86_LEVELS = {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}
"""The instruction set to use, by what torch says that the processor can do."""
_LEAST_WORK = 500_000
"""Similarities, or as much of anything else, that are worth a thread: it takes a tenth of a millisecond."""
_VALUES_OF_A_SIMILARITY = 2
"""Factors of dropout, or normalised numbers, in the time of a similarity."""


@dataclass(frozen=True, slots=True)
class CpuKernels:
    """The compiled kernels; see `losa.adapt.kernels.contract.Kernels`."""

    target: str
    """The instruction set that they were compiled for."""
    functions: ctypes.CDLL

    def attention(
        self,
        projected: Tensor,
        read: range,
        attended: Tensor,
        statistics: Tensor,
        grads: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """See `Kernels`.

        Raises:
            MemoryError: there is no memory for the copies of one head.
        """
        batch, _, heads, channels, tokens = projected.shape
        shape = (heads, channels, tokens, read.start, read.step, len(read))
        addresses = [each.data_ptr() for each in (attended, statistics, *(grads or ()))]
        addresses += [0] * (4 - len(addresses))
        attention, address = self.functions.losa_attention, projected.data_ptr()

        def some(first: int, last: int) -> int:
            failed: int = attention(address, *shape, first, last, *addresses)
            return failed

        in_threads(some, batch * heads, batch * heads * tokens * len(read))

    def dropout(
        self, keys: Tensor, least_kept: Tensor, scales: Tensor, first_image: int, factors: Tensor
    ) -> None:
        """See `Kernels`."""
        members, images = factors.shape[:2]
        count = math.prod(factors.shape[2:])
        addresses = [each.data_ptr() for each in (keys, least_kept, scales)]
        dropout, address = self.functions.losa_dropout, factors.data_ptr()

        def some(first: int, last: int) -> int:
            failed: int = dropout(*addresses, first_image * count, images, count, first, last, address)
            return failed

        in_threads(some, members * images, factors.numel() // _VALUES_OF_A_SIMILARITY)

    def normalise(
        self,
        a: Tensor,
        b: Tensor | None,
        eps: float,
        total: Tensor | None,
        normalised: Tensor,
        scale: Tensor,
    ) -> None:
        """Compute what `losa.adapt.kernels.normalised_sums.normalised_sum` returns."""
        _, tokens, width = a.shape
        of_b = (0, 0) if b is None else (b.data_ptr(), b.stride(0))
        into = (0 if total is None else total.data_ptr(), normalised.data_ptr(), scale.data_ptr())
        normalise, given = self.functions.losa_normalise, (a.data_ptr(), a.stride(0), *of_b)

        def some(first: int, last: int) -> int:
            failed: int = normalise(*given, tokens, width, eps, first, last, *into)
            return failed

        in_threads(some, scale.numel(), a.numel() // _VALUES_OF_A_SIMILARITY)


def load_cpu_kernels() -> CpuKernels | str:
    """The kernels for this processor, or why there are none."""
    capability = torch.backends.cpu.get_cpu_capability()
    level = {"x86_64": _X86_LEVELS.get(capability), "aarch64": "armv8-a"}.get(architecture())
    if level is None:
        return f"there are none for {architecture()} {capability}"
    path = library_path(level)
    if not path.exists():
        return "none were compiled from these sources: install losa again, with a C++ compiler"
    try:
        return open_cpu_kernels(level)
    except OSError as error:
        return f"{path.name} cannot be loaded: {error}"


def open_cpu_kernels(level: str) -> CpuKernels:
    """The kernels that were compiled for an instruction set.

    Raises:
        OSError: their file cannot be loaded.
    """
    functions = ctypes.CDLL(str(library_path(level)))
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    functions.losa_attention.argtypes = [pointer, *[integer] * 8, *[pointer] * 4]
    functions.losa_dropout.argtypes = [*[pointer] * 3, *[integer] * 5, pointer]
    of_features, eps = (pointer, integer, pointer, integer, integer, integer), ctypes.c_float
    functions.losa_normalise.argtypes = [*of_features, eps, integer, integer, *[pointer] * 3]
    return CpuKernels(level, functions)


def in_threads(function: Callable[[int, int], int], items: int, work: int) -> None:
    """Call ``function(first, last)`` for all items, in as many threads as torch uses.

    Args:
        function: computes items from first to last, without the GIL. Anything but 0 says that memory ran out.
        items: number of items.
        work: operations of all of them, to tell whether they are worth several threads.

    Raises:
        MemoryError: a thread had no memory.
    """
    threads = max(1, min(torch.get_num_threads(), items, work // _LEAST_WORK))
    bounds = [items * part // threads for part in range(threads + 1)]
    failed: list[int] = []
    _work_threads(torch.get_num_threads()).map(
        lambda part: failed.append(function(*part)), list(pairwise(bounds))
    )
    if any(failed):
        raise MemoryError("a kernel found no memory for its copies of one head")


_work_threads = cache(WorkThreads)
