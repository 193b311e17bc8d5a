"""How much memory a training step takes, and how many images and members it therefore takes at once."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from losa.adapt.memory import free_in_ram, free_on_gpu, is_cuda
from losa.adapt.side_networks import SideNetwork
from losa.adapt.streams import FrozenFeatures

CPU_MICRO_BATCH_BYTES = 2**26
"""Bytes that a micro-batch may take on a CPU: larger ones leave its caches."""
CPU_MICRO_BATCH_IMAGES = 10
"""Images that a micro-batch has on a CPU even if they take more bytes than that, as long as they fit into
memory: with fewer, the overhead of each operation is too large. Both were measured with
`losa-bench fused --micro-batch`."""
STATES = 6
"""Copies of a member's parameters: values, gradients, two of the optimiser, the best epoch's, one spare."""
SHARE = 4
"""A pass may take one part in so many of what is free."""


class _Allocations(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would import its compiler, for seconds, to keep it away from a code that is not compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What is passed and was not made here stood before; results may be views of it.
        self._seen.update(_storages((args, kwargs)))
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._seen:
            self._seen.add(storage)
            size = storage.nbytes()
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.live -= size


def _storages(values: object) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]


def peak_bytes(step: Callable[[], object], device: str) -> int:
    """Bytes that a step holds at its worst moment, beyond what stood before it."""
    if is_cuda(device):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    allocations = _Allocations()
    with allocations:
        step()
    return allocations.peak


def free_bytes(device: str) -> int:
    """On the compute device."""
    return free_on_gpu(device) if is_cuda(device) else free_in_ram()


def members_at_once(networks: Sequence[SideNetwork], device: str) -> int:
    """How many members memory holds: their parameters, and what one image takes while it is computed.

    Args:
        networks: one of each kind, with one member.
        device: the compute device.
    """
    need = 1
    for network in networks:
        network = network.to(device)
        features, parameters = network.features, sum(value.nbytes for value in network.parameters())
        shape = (1, len(features.sites), features.tokens.count, features.width)
        activations = torch.zeros(shape, device=device)

        def step(network: SideNetwork = network, activations: Tensor = activations) -> None:
            network(FrozenFeatures(activations)).sum().backward()

        need = max(need, STATES * parameters + peak_bytes(step, device))
    return max(1, free_bytes(device) // SHARE // need)


def choose_micro_batch_size(step: Callable[[int], object], batch_size: int, device: str) -> int:
    """How many images of a batch to compute at once; their gradients add up to the batch's.

    Fewer than would fit, down to half, if that cuts the batch into equal parts: libraries compile products
    anew for every shape, which costs more than smaller parts.

    Args:
        step: computes gradients on so many images.
        batch_size: the most that is wanted.
        device: the compute device.
    """
    one = peak_bytes(lambda: step(1), device)
    if batch_size < 3:
        return batch_size
    try:
        three = peak_bytes(lambda: step(3), device)
    except torch.OutOfMemoryError:
        return 1
    each = max(1, (three - one) // 2)
    images = 1 + (free_bytes(device) // SHARE - one) // each
    if not is_cuda(device):
        images = min(images, max(CPU_MICRO_BATCH_IMAGES, 1 + (CPU_MICRO_BATCH_BYTES - one) // each))
    most = int(min(batch_size, max(1, images)))
    return next((size for size in range(most, most // 2, -1) if batch_size % size == 0), most)
