"""Copies of results on a GPU to the host, made while the GPU computes further results."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class HostCopy:
    """Tensors on their way to the host."""

    tensors: Sequence[Tensor]
    arrived: torch.cuda.Event | None
    """Recorded behind the copies; None for tensors that were on the host from the start."""

    def wait(self) -> Sequence[Tensor]:
        """The tensors on the host, once they have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.tensors


class HostCopies:
    """Starts copies to pinned memory on a stream of their own, so that they overlap with computations.

    Torch keeps the pinned memory of tensors that are gone for the next ones.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def start(self, tensors: Sequence[Tensor]) -> HostCopy:
        """Start to copy tensors that the current stream computes. Nothing waits for the device here."""
        if self._stream is None:
            return HostCopy(tensors, None)
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            copies = [_pinned_copy(tensor) for tensor in tensors]
            for tensor in tensors:
                tensor.record_stream(self._stream)  # its memory is in use until then
            arrived = torch.cuda.Event(blocking=True)
            arrived.record(self._stream)
        return HostCopy(copies, arrived)


def _pinned_copy(tensor: Tensor) -> Tensor:
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
