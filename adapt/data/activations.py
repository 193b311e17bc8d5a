"""Sources of activations for the training loop."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from losa.adapt.data.reused_memory import ReusedMemory
from losa.adapt.data.side_stream import SideStream, take_over
from losa.cache_format import Split
from losa.cache_format.codecs.torch_codecs import DeviceCodec, DeviceCodes

AHEAD = 2
"""Number of batches that are read while one is computed."""


@runtime_checkable  # so that beartype can check it while the tests run
class Batch(Protocol):
    """Images whose activations are still encoded as in the cache."""

    def __len__(self) -> int:
        """Number of images."""

    def decode(
        self, images: slice | Int64[Tensor, "_"], memory: ReusedMemory | None = None
    ) -> Float[Tensor, "images sites tokens width"]:
        """Decode the activations of some of the images.

        Args:
            images: positions in the batch, on the compute device if they are a tensor.
            memory: memory for the result, which need not be used.

        Returns:
            Activations on the compute device, float32 if they come from a cache.
        """

    def copy(self) -> Self:
        """The same batch in memory of its own."""

    def copy_from(self, other: Self) -> None:
        """Overwrite the memory of this batch by that of another one.

        Args:
            other: a batch of the same kind and of as many images.
        """


@runtime_checkable  # so that beartype can check it while the tests run
class ActivationSource(Protocol):
    """Reads the activations of a split."""

    def read(self, indices: Int64[np.ndarray, "images"]) -> Batch:
        """Read some images, in the given order.

        It is called in a thread beside the training loop, a few batches ahead.

        Args:
            indices: positions in the split, from 0; duplicates are allowed.

        Returns:
            The images, still encoded.

        Raises:
            IndexError: a position is out of range.
            LosaError: the images cannot be read.
        """


class CodedBatch:
    """Codes on the compute device; only requested images are decoded."""

    def __init__(self, codes: DeviceCodes, codec: DeviceCodec, ready: torch.cuda.Event | None = None) -> None:
        """Wrap codes.

        Args:
            codes: the codes.
            codec: the codec, on the same device.
            ready: the event after which a side stream has made the codes; see `SideStream`.
        """
        self._codes = codes
        self._codec = codec
        self._ready = ready

    def __len__(self) -> int:
        """Number of images."""
        return len(self._codes.values)

    @property
    def codes(self) -> DeviceCodes:
        """The codes, for the current stream."""
        ready, self._ready = self._ready, None
        take_over(self._codes.tensors, ready)
        return self._codes

    def decode(
        self, images: slice | Int64[Tensor, "_"], memory: ReusedMemory | None = None
    ) -> Float32[Tensor, "images sites tokens width"]:
        """Decode the activations of some of the images; float32 codes may be returned as they are.

        Args:
            images: positions in the batch, on the compute device if they are a tensor.
            memory: memory for the result, which float32 codes do not need.
        """
        values, scales = self.codes.values, self.codes.scales
        codes = DeviceCodes(values[images], None if scales is None else scales[images])
        if memory is None or values.dtype == torch.float32:
            return self._codec.decode(codes)
        return self._codec.decode(codes, memory.empty(self._codec.decoded_shape(codes), values.device))

    def copy(self) -> "CodedBatch":
        """See `Batch`."""
        codes = self.codes
        scales = None if codes.scales is None else codes.scales.clone()
        return CodedBatch(DeviceCodes(codes.values.clone(), scales), self._codec)

    def copy_from(self, other: "CodedBatch") -> None:
        """See `Batch`."""
        for own, theirs in zip(self.codes.tensors, other.codes.tensors, strict=True):
            own.copy_(theirs)


class CachedActivations:
    """Reads from a cache, every time; an `ActivationSource`.

    Attributes:
        split: the split that is read.
        codec: its codec, on the compute device.
    """

    def __init__(self, split: Split, device: str) -> None:
        """Copy the calibration of the split's sites to the device.

        Args:
            split: the split to read.
            device: the compute device, as torch names it.
        """
        calibration = split.cache.calibration(split.sites)
        self.split = split
        self.codec = DeviceCodec(split.cache.manifest.features.codec, calibration, device)
        self._side_stream = SideStream(self.codec.device)

    def read(self, indices: Int64[np.ndarray, "images"]) -> CodedBatch:
        """Read some images, in the given order.

        Args:
            indices: positions in the split, from 0; duplicates are allowed.

        Returns:
            The codes, on the compute device.

        Raises:
            IndexError: a position is out of range.
            CacheError: a file cannot be read.
            CorruptCache: bytes do not fit their checksum.
        """
        with self._side_stream():
            codes = self.codec.to_device(self.split.read(indices))
            return CodedBatch(codes, self.codec, self._side_stream.mark())


def read_ahead(source: ActivationSource, batches: Iterable[Int64[np.ndarray, "_"]]) -> Iterator[Batch]:
    """Read batches in a thread, a few ahead of the consumer.

    Args:
        source: where to read from.
        batches: positions of the images of each batch.
    """
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="losa-read") as pool:
        try:
            for indices in batches:
                waiting.append(pool.submit(source.read, indices))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
