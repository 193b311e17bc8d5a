"""How far this machine may run ahead of a GPU."""

from collections import deque

import torch

from losa.adapt.free_memory import is_cuda

AHEAD = 2
"""Steps that are launched while an earlier one is computed. Batches that wait on the device take memory, and
whoever looks at the progress, or stops the training, sees the steps that were launched."""


class Pace:
    """Waits for the step before the last few, so that the GPU has work at all times, but not much of it."""

    def __init__(self, device: str) -> None:
        """Start before the first step; a CPU is never ahead of itself."""
        self._stream = torch.cuda.current_stream(device) if is_cuda(device) else None
        self._done: deque[torch.cuda.Event] = deque()

    def keep(self) -> None:
        """Say that a step was launched."""
        if self._stream is None:
            return
        self._done.append(self._stream.record_event())
        if len(self._done) > AHEAD:
            self._done.popleft().synchronize()
