"""The most memory that a piece of work takes at once, on a GPU or in this process."""

import ctypes
import gc

import torch

from losa.adapt.free_memory import is_cuda
from losa.pipelines.bench.resident_memory import peak_resident_bytes, reset_peak, resident_bytes


class PeakMemory:
    """Compares the peak from now on with what is in use now.

    On a GPU tensors are counted, in the way of ``torch.cuda.max_memory_allocated``; on a CPU all memory of
    the process. Modules, libraries and threads take memory once: load them before, by a small piece of the
    same work.
    """

    def __init__(self, device: str) -> None:
        """Free what is no longer used, and let the peak start anew.

        Args:
            device: the compute device, as torch names it.
        """
        self._device = device
        gc.collect()
        self._before: int | None
        if is_cuda(device):
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            _give_back_freed()
            self._before = resident_bytes() if reset_peak() else None

    def taken(self) -> int | None:
        """Bytes of the peak beyond those at the start; None if the system does not report them."""
        if self._before is None:
            return None
        peak = (
            torch.cuda.max_memory_allocated(self._device) if is_cuda(self._device) else peak_resident_bytes()
        )
        return None if peak is None else peak - self._before


def _give_back_freed() -> None:
    """Let glibc return freed memory to the system: otherwise later work would use it without being seen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
