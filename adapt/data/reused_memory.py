"""Memory for decoded activations that is used again and again."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor


class ReusedMemory:
    """Holds one float32 tensor at a time; the next one takes its memory.

    A CPU gets fresh memory page by page from the system, which takes longer than decoding. On a GPU torch
    itself keeps memory, and nothing is held here.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._kept = torch.empty(0)

    def empty(self, shape: Sequence[int], device: torch.device) -> Float32[Tensor, "..."]:
        """A tensor whose values are not set. It is valid until the next call.

        Args:
            shape: its shape.
            device: its device.
        """
        if device.type != "cpu":
            return torch.empty(tuple(shape), device=device)
        values = math.prod(shape)
        if self._kept.numel() < values:
            # First given back, then allocated: both may not fit. Scoring, which runs in inference mode, may
            # come before training, which cannot use tensors of that mode.
            self._kept = torch.empty(0)
            with torch.inference_mode(False):
                self._kept = torch.empty(values)
        return self._kept[:values].view(tuple(shape))
