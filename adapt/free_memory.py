"""How many bytes of memory are free, in RAM and on a GPU."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from losa.cache_format.common.control_groups import control_groups

_OUT_OF_MEMORY = (
    "defaultcpuallocator",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "out_of_memory",  # CUDA_ERROR_OUT_OF_MEMORY
    "bad_alloc",
    "alloc_failed",
)
"""What the messages of such errors contain, in lower case."""


class _Names(NamedTuple):
    """Names of a control group's files, and of the lines of ``memory.stat`` that count the file cache."""

    limit: str
    usage: str
    cache: tuple[str, str]


_VERSION_1 = _Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")
)
_VERSION_2 = _Names("memory.max", "memory.current", ("active_file", "inactive_file"))


def free_in_ram(root: Path = Path("/")) -> int:
    """Bytes that can be allocated without swapping, within the limits of containers and batch systems.

    Args:
        root: folder of ``proc`` and ``sys``.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    (available,) = (int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return max(0, min([available * 1024, *_free_in_groups(root)]))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, on the GPU or on this machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Torch on the CPU and the libraries of a GPU raise an error without a type of its own.
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(text in message for text in _OUT_OF_MEMORY)


def is_cuda(device: str) -> bool:
    """Whether a device is a CUDA GPU, with its own memory."""
    return torch.device(device).type == "cuda"


def free_on_gpu(device: str) -> int:
    """Bytes that torch can still allocate on a CUDA device."""
    index = torch.device(device).index
    index = torch.cuda.current_device() if index is None else index
    free, _ = torch.cuda.mem_get_info(index)
    # Torch keeps the memory of freed tensors, for example those of an earlier training in this process.
    return int(free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index))


def free_on(device: str) -> int:
    """Bytes that are free in the memory of a compute device."""
    return free_on_gpu(device) if is_cuda(device) else free_in_ram()


def _free_in_groups(root: Path) -> Iterator[int]:
    """Bytes that are left below the limit of each control group that this process belongs to."""
    for version, folder in control_groups("memory", root):
        names = _VERSION_2 if version == 2 else _VERSION_1
        try:
            limit = (folder / names.limit).read_text().strip()
            if limit == "max":
                continue
            usage = int((folder / names.usage).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except FileNotFoundError:
            continue
        yield int(limit) - usage + sum(int(statistics[line]) for line in names.cache)
