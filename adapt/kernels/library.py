"""Which kernels compute on a device, if any do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

from losa.adapt.kernels.contract import Kernels
from losa.adapt.kernels.cpu_kernels import CpuKernels, load_cpu_kernels
from losa.adapt.kernels.gpu_kernels import GpuKernels, load_gpu_kernels

SWITCH = "LOSA_KERNELS"
"""Environment variable; ``off`` leaves everything to torch."""


def load_kernels(device: torch.device) -> CpuKernels | GpuKernels | str:
    """The kernels for a device, or why there are none. They are loaded once."""
    if device.type == "cuda" and device.index is None:
        return _load(device.type, torch.cuda.current_device())
    return _load(device.type, device.index)


@cache
def _load(kind: str, number: int | None) -> CpuKernels | GpuKernels | str:
    if os.environ.get(SWITCH) == "off":
        return f"{SWITCH}=off"
    if kind == "cpu":
        return load_cpu_kernels()
    if kind != "cuda" or number is None:
        return f"there are none for {kind}"
    return load_gpu_kernels(number)


_left_to_torch = ContextVar("left_to_torch", default=False)


@contextmanager
def left_to_torch() -> Iterator[None]:
    """A context without kernels, for what looks at torch's operators; graphs are made of them in any case."""
    token = _left_to_torch.set(True)
    try:
        yield
    finally:
        _left_to_torch.reset(token)


def kernels_for(values: torch.Tensor) -> Kernels | None:
    """The kernels, if they are there and can compute with such values."""
    if _left_to_torch.get() or _is_traced(values):
        return None
    kernels = load_kernels(values.device)
    return None if isinstance(kernels, str) else kernels


def _is_traced(values: torch.Tensor) -> bool:
    """Whether torch follows its operators, to make a graph of them or to transform them."""
    return (
        type(values) not in (torch.Tensor, torch.nn.Parameter)
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )


def kernels_told(device: str) -> str:
    """In a few words, whether there are kernels for a device.

    >>> kernels_told("cpu")  # doctest: +SKIP
    'compiled kernels (x86-64-v4)'
    """
    kernels = load_kernels(torch.device(device))
    if isinstance(kernels, str):
        return f"torch, without compiled kernels: {kernels}"
    return f"compiled kernels ({kernels.target})"
