"""Steps that a GPU repeats from a recording (CUDA graphs), which takes one launch instead of a thousand."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from losa.adapt.data.activations import Batch
from losa.adapt.free_memory import is_cuda
from losa.adapt.training.epoch_inputs import StepInputs
from losa.adapt.training.step_computation import MicroBatchMemory, Result, StepComputation
from losa.cache_format.errors import LosaError

_log = logging.getLogger(__name__)

Compile = bool | Literal["auto"]
"""Values of the option ``compile``: ``auto`` records steps where that is possible."""

PLAIN_STEPS = 2
"""Steps of each size that are computed as usual before one is recorded: libraries load their kernels, choose
among them and allocate their memory the first time, which a recording does not allow."""


def refuse_impossible_compile(option: Compile, device: str) -> None:
    """Refuse ``compile=true`` where steps cannot be recorded.

    Raises:
        LosaError: the device is not a GPU.
    """
    if option is True and not is_cuda(device):
        raise LosaError(
            f"compile=true: expected a CUDA device, found device={device}: use device=cuda where there is "
            "one, or compile=auto"
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded step, the memory that it reads, and the memory of its result."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    inputs: StepInputs
    result: Result

    def replay(self, batch: Batch, inputs: StepInputs) -> Result:
        """Compute a step, the update of the members included. The result is valid until the next one."""
        self.batch.copy_from(batch)
        torch._foreach_copy_(self.inputs.tensors, inputs.tensors)
        self.graph.replay()
        return self.result


class RecordedSteps:
    """Records one step for each number of images, and repeats it with other batches and inputs.

    A recording holds all kernels of a step, from decoding to the update of the members. It reads its inputs
    from the same memory each time, and reads and writes parameters and the optimiser's state in place. It is
    of no use any more when these are replaced.
    """

    def __init__(self, computation: StepComputation, option: Compile, device: str) -> None:
        """Record nothing yet.

        Args:
            computation: computes the steps.
            option: ``auto`` falls back to plain steps, with a warning, if a step cannot be recorded; false
                records nothing.
            device: the compute device; steps are recorded on a CUDA device alone.
        """
        self._computation = computation
        self._option = option
        self._device = device
        self._recording = option is not False and is_cuda(device)
        # A recording is made on a stream of its own. Plain steps run there too, so that what libraries keep
        # for each stream is there already.
        self._stream = torch.cuda.Stream(device) if self._recording else None
        self._pool = torch.cuda.graph_pool_handle() if self._recording else None
        self._recordings: dict[int, Recording] = {}
        self._plain: Counter[int] = Counter()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """A context for an epoch: its work runs on the stream of the recordings, if there are any."""
        if self._stream is None:
            yield
            return
        outer = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outer.wait_stream(self._stream)

    def of(self, batch: Batch, inputs: StepInputs, at_once: int) -> Recording | None:
        """The recording that repeats a step of this size; None if the step is to be computed as usual.

        Args:
            batch: the activations of the step.
            inputs: what it needs beside them.
            at_once: number of images of a micro-batch; `forget` must be called before it changes.

        Raises:
            LosaError: the step cannot be recorded, and ``compile=true``.
        """
        if not self._recording:
            return None
        size = len(batch)
        if size not in self._recordings:
            if self._plain[size] < PLAIN_STEPS:
                self._plain[size] += 1
                return None
            try:
                self._recordings[size] = self._record(batch, inputs, at_once)
            except RuntimeError as error:
                self._fall_back(error)
                return None
        return self._recordings[size]

    def forget(self) -> None:
        """Give up the recordings, with their memory, and count plain steps anew."""
        self._recordings.clear()
        self._plain.clear()

    def _record(self, batch: Batch, inputs: StepInputs, at_once: int) -> Recording:
        own_batch, own_inputs = batch.copy(), inputs.copy()
        graph = torch.cuda.CUDAGraph()
        # Meanwhile another thread copies later batches to the device, which only this mode allows.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = self._computation.gradients(own_batch, own_inputs, at_once, MicroBatchMemory())
            self._computation.update(own_inputs)
        if not self._recordings:
            _log.info("compile=%s: steps are repeated from a recording (CUDA graph)", _shown(self._option))
        return Recording(graph, own_batch, own_inputs, result)

    def _fall_back(self, error: BaseException) -> None:
        """Compute plain steps from here on, or raise if that is not wanted."""
        # An error in a recording is followed by another one that only says that the recording has failed.
        while error.__context__ is not None:
            error = error.__context__
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        self._recording = False
        self.forget()
        if self._option is True:
            raise LosaError(
                f"compile=true: a step could not be recorded on {self._device}: {reason}. Use compile=auto, "
                "which then computes it as usual, or compile=false"
            )
        _log.warning("compile=auto: a step could not be recorded, so all are computed as usual: %s", reason)


def _shown(option: Compile) -> str:
    return "auto" if option == "auto" else str(option).lower()
