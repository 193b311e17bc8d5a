"""The compiled kernels of this processor, and threads that share their work."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch

from losa.adapt.kernels.compiling import architecture, library_path
from losa.cache_format.common.work_threads import WorkThreads

SWITCH = "LOSA_KERNELS"
"""Environment variable; ``off`` leaves everything to torch."""

_X86_LEVELS = {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}
"""The instruction set to use, by what torch says that the processor can do."""
_LEAST_WORK = 500_000
"""Similarities, or as much of anything else, that are worth a thread: it takes a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """The compiled kernels."""

    level: str
    """The instruction set that they were compiled for."""
    functions: ctypes.CDLL


@cache
def load_kernels() -> Kernels | str:
    """The kernels for this processor, or why there are none."""
    if os.environ.get(SWITCH) == "off":
        return f"{SWITCH}=off"
    capability = torch.backends.cpu.get_cpu_capability()
    level = {"x86_64": _X86_LEVELS.get(capability), "aarch64": "armv8-a"}.get(architecture())
    if level is None:
        return f"there are none for {architecture()} {capability}"
    path = library_path(level)
    if not path.exists():
        return "none were compiled from these sources: install losa again, with a C++ compiler"
    try:
        return open_kernels(level)
    except OSError as error:
        return f"{path.name} cannot be loaded: {error}"


_left_to_torch = ContextVar("left_to_torch", default=False)


@contextmanager
def left_to_torch() -> Iterator[None]:
    """A context without kernels, for what looks at torch's operators; graphs are made of them in any case."""
    token = _left_to_torch.set(True)
    try:
        yield
    finally:
        _left_to_torch.reset(token)


def compiled_for(values: torch.Tensor) -> Kernels | None:
    """The kernels, if they are there and can compute with such values."""
    if not values.is_cpu or _left_to_torch.get() or _is_traced(values):
        return None
    kernels = load_kernels()
    return kernels if isinstance(kernels, Kernels) else None


def _is_traced(values: torch.Tensor) -> bool:
    """Whether torch follows its operators, to make a graph of them or to transform them."""
    return (
        type(values) not in (torch.Tensor, torch.nn.Parameter)
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )


def open_kernels(level: str) -> Kernels:
    """The kernels that were compiled for an instruction set.

    Raises:
        OSError: their file cannot be loaded.
    """
    functions = ctypes.CDLL(str(library_path(level)))
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    functions.losa_attention.argtypes = [pointer, *[integer] * 8, *[pointer] * 4]
    functions.losa_dropout.argtypes = [*[pointer] * 3, *[integer] * 5, pointer]
    return Kernels(level, functions)


def kernels_told() -> str:
    """In a few words, whether there are kernels.

    >>> kernels_told()  # doctest: +SKIP
    'compiled kernels (x86-64-v4)'
    """
    kernels = load_kernels()
    if isinstance(kernels, str):
        return f"torch, without compiled kernels: {kernels}"
    return f"compiled kernels ({kernels.level})"


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
