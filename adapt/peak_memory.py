"""The most memory that was in use at any moment, in RAM or on a GPU."""

import resource

import torch

from losa.adapt.free_memory import is_cuda


def forget_peak(device: str) -> None:
    """Let the peak of a GPU start anew at what is allocated now. That of a process cannot."""
    if is_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)


def highest_bytes(device: str) -> int:
    """The most bytes at any moment until now.

    On a GPU those of tensors, since `forget_peak`. On a CPU those of the whole process, since its start.
    """
    if is_cuda(device):
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
