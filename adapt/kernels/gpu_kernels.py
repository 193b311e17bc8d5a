"""The kernels of GPUs. NVRTC, the compiler that torch brings, compiles them where they run.

It needs no CUDA toolkit and no other compiler, and takes 0.1 to 0.6 s for each source and set of constants,
once in a process.
"""

import ctypes
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_FOLDER = Path(__file__).parent
_MOST_THREADS = 256
"""The most threads of a block. In attention, each has a query or a key."""
_MOST_COLUMNS = 4
"""The most columns of a thread of linear combinations."""
_MOST_SUMS = 32
"""The most sums that such a thread keeps, if a column has no more."""
_WARP = 32


@dataclass(frozen=True, slots=True)
class GpuKernels:
    """The kernels of one GPU; see `losa.adapt.kernels.contract.Kernels`."""

    device: int
    """Its number."""
    target: str
    """What is compiled for, as NVRTC names it: ``sm_90``."""

    def attention(
        self,
        projected: Tensor,
        read: range,
        attended: Tensor,
        statistics: Tensor,
        grads: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """See `Kernels`."""
        batch, _, heads, channels, tokens = projected.shape
        rows = tokens if grads else len(read)
        if not rows * batch * heads:
            return
        blocks = -(-rows // _MOST_THREADS)
        threads = _WARP * -(-rows // (blocks * _WARP))
        self._launch(
            "attention",
            "losa_attention_backward" if grads else "losa_attention",
            {"CHANNELS": channels},
            (batch * heads, blocks, 2 if grads else 1),
            threads,
            projected,
            *(ctypes.c_int(each) for each in (heads, tokens, read.start, read.step, len(read))),
            attended,
            statistics,
            *(grads or ()),
        )

    def dropout(
        self, keys: Tensor, least_kept: Tensor, scales: Tensor, first_image: int, factors: Tensor
    ) -> None:
        """See `Kernels`."""
        if not factors.numel():
            return
        count = factors[0].numel()
        start = first_image * factors[0, 0].numel()
        self._launch(
            "dropout",
            "losa_dropout",
            {},
            (-(-count // _MOST_THREADS), len(factors), 1),
            _MOST_THREADS,
            *(keys, least_kept, scales),
            *(ctypes.c_longlong(each) for each in (start, count)),
            factors,
        )

    def combine(self, s: Tensor, f: Tensor, *, add: bool, result: Tensor) -> None:
        """Compute linear combinations; see `losa.adapt.kernels.combinations.few_combinations`.

        Args:
            s: ``(members, images, rows, terms)``, in any order in memory.
            f: ``(members, images, terms, columns)``; its columns are contiguous.
            add: whether to add to the result or to replace it.
            result: ``(members, images, rows, columns)``, contiguous.
        """
        members, images, rows, terms = s.shape
        columns = f.shape[-1]
        if not result.numel():
            return
        each = min(_MOST_COLUMNS, -(-columns // _MOST_THREADS), max(1, _MOST_SUMS // rows))
        blocks = -(-columns // (each * _MOST_THREADS))
        threads = _WARP * -(-columns // (blocks * each * _WARP))
        self._launch(
            "combinations",
            "losa_combine",
            {"ROWS": rows, "COLUMNS": each},
            (members * images, blocks, 1),
            threads,
            s,
            *map(ctypes.c_longlong, s.stride()),
            f,
            *map(ctypes.c_longlong, f.stride()[:3]),
            *map(ctypes.c_int, (images, terms, columns, add)),
            result,
        )

    def _launch(
        self,
        source: str,
        name: str,
        constants: dict[str, int],
        blocks: tuple[int, int, int],
        threads: int,
        *arguments: Tensor | ctypes.c_int | ctypes.c_longlong,
    ) -> None:
        from cuda.bindings import driver

        function = _function(source, name, tuple(constants.items()), self.target, self.device)
        typed = [
            (each.data_ptr(), ctypes.c_void_p) if isinstance(each, Tensor) else (each.value, type(each))
            for each in arguments
        ]
        values, types = zip(*typed, strict=True)
        stream = torch.cuda.current_stream(self.device).cuda_stream
        with _current(self.device):
            _checked(driver.cuLaunchKernel(function, *blocks, threads, 1, 1, 0, stream, (values, types), 0))


def load_gpu_kernels(device: int) -> GpuKernels | str:
    """The kernels for a GPU, or why there are none.

    Args:
        device: its number.
    """
    if torch.version.cuda is None:
        return "there are none for this GPU, only for CUDA"
    try:
        import cuda.bindings as bindings
    except ImportError:
        return "cuda-bindings is not installed: pip install cuda-bindings"
    kernels = GpuKernels(device, "sm_{}{}".format(*torch.cuda.get_device_capability(device)))
    try:
        one = torch.zeros(1, dtype=torch.int64, device=f"cuda:{device}")
        kernels.dropout(one, one, one.float(), 0, one.float()[:, None])
    except torch.OutOfMemoryError:
        raise
    except (ImportError, OSError, RuntimeError) as error:
        return f"{bindings.__name__} {bindings.__version__}: {str(error).strip()}"
    return kernels


def compiled(source: str, constants: Sequence[tuple[str, int]], architecture: str) -> bytes:
    """Machine code of a source in this folder.

    Args:
        source: its name, without ``.cu``.
        constants: names and values to define.
        architecture: as NVRTC names it.

    Raises:
        RuntimeError: NVRTC is missing or older than the architecture, or the source is invalid.
    """
    from cuda.bindings import nvrtc

    text = (_FOLDER / f"{source}.cu").read_bytes()
    program = _checked(nvrtc.nvrtcCreateProgram(text, f"{source}.cu".encode(), 0, [], []))
    options = [f"--gpu-architecture={architecture}", "-std=c++17"]
    options += [f"-D{name}={value}" for name, value in constants]
    (code,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    if int(code):
        log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
        told = bytes(log).rstrip(b"\0 \n").decode()
        raise RuntimeError(f"{source}.cu for {architecture}: {code.name}{told and ': '}{told}")
    machine_code = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
    _checked(nvrtc.nvrtcGetCUBIN(program, machine_code))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    return bytes(machine_code)


@functools.cache
def _function(
    source: str, name: str, constants: tuple[tuple[str, int], ...], architecture: str, device: int
) -> Any:
    from cuda.bindings import driver

    module = _module(source, constants, architecture, device)
    return _checked(driver.cuModuleGetFunction(module, name.encode()))


@functools.cache
def _module(source: str, constants: tuple[tuple[str, int], ...], architecture: str, device: int) -> Any:
    from cuda.bindings import driver

    with _current(device):
        return _checked(driver.cuModuleLoadData(compiled(source, constants, architecture)))


@contextmanager
def _current(device: int) -> Iterator[None]:
    """A context in which CUDA's driver works on a GPU, as torch does."""
    from cuda.bindings import driver

    with torch.cuda.device(device):
        # A thread that has not used the GPU yet, as those of the backward pass, has no context.
        _checked(driver.cuCtxSetCurrent(_context(device)))
        yield


@functools.cache
def _context(device: int) -> Any:
    """The context that torch uses, too."""
    from cuda.bindings import driver

    return _checked(driver.cuDevicePrimaryCtxRetain(_checked(driver.cuDeviceGet(device))))


def _checked(result: tuple[Any, ...]) -> Any:
    """The value beside a code of CUDA.

    Raises:
        RuntimeError: the code is one of an error.
    """
    code, *values = result
    if int(code):
        raise RuntimeError(code.name)
    return values[0] if values else None
