"""A stream of a GPU beside the one that computes, on which batches arrive."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SideStream:
    """Copies and selections for later batches, which run while an earlier batch is computed.

    A CPU has no streams: there all work is done in its turn.
    """

    def __init__(self, device: torch.device) -> None:
        """Begin after all work that the current stream has so far.

        Args:
            device: the compute device.
        """
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(device))

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A context whose work is put on this stream."""
        with torch.cuda.stream(self._stream):
            yield

    def mark(self) -> torch.cuda.Event | None:
        """What happens when the work that was put here so far is done; None on a CPU, where it is done."""
        return None if self._stream is None else self._stream.record_event()


def take_over(tensors: Iterable[Tensor], ready: torch.cuda.Event | None) -> None:
    """Let the current stream use tensors that a side stream has made, after the event `SideStream.mark`."""
    if ready is None:
        return
    for tensor in tensors:
        stream = torch.cuda.current_stream(tensor.device)
        stream.wait_event(ready)
        # Its memory is not given to another tensor before the current stream is done with it.
        tensor.record_stream(stream)
