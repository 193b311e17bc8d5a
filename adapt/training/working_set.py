"""The memory of a training step, and the micro-batch size and number of members that follow from it."""

import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from losa.adapt.free_memory import free_on, is_cuda, is_out_of_memory
from losa.adapt.side_networks import SideNetwork
from losa.adapt.streams import FrozenFeatures

CPU_MICRO_BATCH_BYTES = 2**26
"""Bytes that a micro-batch may take on a CPU: larger ones leave its caches."""
CPU_MICRO_BATCH_IMAGES = 10
"""Images that a micro-batch has on a CPU even if they take more bytes than that, as long as they fit into
memory: with fewer, the overhead of each operation is too large. Both were measured with
`losa-bench fused --micro-batch`."""
PARAMETER_COPIES = 7
"""Tensors of the size of a member's parameters: the parameters, their gradients, the gradients joined, two of
the optimiser, the parameters of the best epoch, and one in reserve."""
FREE_MEMORY_DIVISOR = 4
"""A pass may use one quarter of the free memory."""


class _Allocations(TorchDispatchMode):
    """Counts the bytes of all tensors that are created while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Without this, torch imports its compiler for seconds, only to exclude this class from it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Arguments that were not created here existed before; results may be views of them.
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
    """The most bytes that a step holds at any moment, beyond those allocated before it.

    On a GPU the step runs twice: the first time libraries take memory that they keep.
    """
    if is_cuda(device):
        step()
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


def members_at_once(networks: Sequence[SideNetwork], device: str, scoring_bytes: int) -> int:
    """How many members fit into memory with their parameters, the step of one image, and their scores.

    Args:
        networks: one network of each kind, each of one member.
        device: the compute device.
        scoring_bytes: bytes that counting the predictions of one member takes.
    """
    need = 1
    for network in networks:
        try:
            need = max(need, _bytes_of_member(network, device))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return 1
    return max(1, free_on(device) // FREE_MEMORY_DIVISOR // (need + scoring_bytes))


def _bytes_of_member(network: SideNetwork, device: str) -> int:
    """Bytes of the parameters of a network, with all their copies, and of the step of one image."""
    network = network.to(device)
    features, parameters = network.features, sum(value.nbytes for value in network.parameters())
    activations = torch.zeros((1, len(features.sites), features.tokens.count, features.width), device=device)
    step = peak_bytes(lambda: network(FrozenFeatures(activations)).sum().backward(), device)
    return PARAMETER_COPIES * parameters + step


def choose_micro_batch_size(step: Callable[[int], object], batch_size: int, device: str) -> int:
    """How many images of a batch to compute at once; the gradients of its micro-batches are added up.

    The size is less than what fits, down to half of it, if micro-batches are then equal: libraries compile
    their products once for every shape, which costs more than smaller micro-batches do.

    Args:
        step: computes the gradients of the given number of images.
        batch_size: upper limit.
        device: the compute device.
    """
    if batch_size < 3:
        step(1)
        return batch_size
    memory = _measure(step, device)
    images = memory.images(free_on(device) // FREE_MEMORY_DIVISOR)
    if not is_cuda(device):
        images = min(images, max(CPU_MICRO_BATCH_IMAGES, memory.images(CPU_MICRO_BATCH_BYTES)))
    most = min(batch_size, images)
    return next((size for size in range(most, most // 2, -1) if batch_size % size == 0), most)


def largest_that_fits(step: Callable[[int], object], images: int, device: str) -> int:
    """The number of images to compute at once, or as many of them as all of the free memory holds.

    Args:
        step: as in `choose_micro_batch_size`.
        images: upper limit.
        device: the compute device.
    """
    return images if images < 3 else min(images, _measure(step, device).images(free_on(device)))


class _StepMemory(NamedTuple):
    """Bytes that the gradients of a micro-batch take: those of one image, and of each further one."""

    first: int
    further: int

    def images(self, free: int) -> int:
        """How many images fit, one at least."""
        return max(1, 1 + (free - self.first) // self.further)


def _measure(step: Callable[[int], object], device: str) -> _StepMemory:
    first = peak_bytes(lambda: step(1), device)
    try:
        three = peak_bytes(lambda: step(3), device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _StepMemory(first, sys.maxsize)
    return _StepMemory(first, max(1, (three - first) // 2))
