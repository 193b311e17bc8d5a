"""How many operations and kernels a training step launches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode


class Counts(NamedTuple):
    """Launches of one step."""

    dispatches: int
    """Calls of torch's operators, those that an operator makes included."""
    kernels: int
    """Kernels that a GPU runs; on a CPU the operators that are no views."""


def count_launches(step: Callable[[], object], device: str) -> Counts:
    """Count the launches of a step, which is called once or twice.

    Args:
        step: computes a step.
        device: where it is computed.
    """
    if device.startswith("cuda"):
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            step()
            torch.cuda.synchronize(device)
        kernels = sum(event.device_type.name == "CUDA" for event in profiled.events())
        return Counts(_dispatches(profiled), kernels)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    operators = _Operators()
    with operators:
        step()
    return Counts(_dispatches(profiled), operators.count)


def _dispatches(profiled: Any) -> int:
    return sum(event.name.startswith("aten::") for event in profiled.events())


class _Operators(TorchDispatchMode):
    """Counts the operators that are called while it is active, but those that only make a view."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without this, torch imports its compiler for seconds, only to exclude this class from it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))
