"""Sources of activations for the training loop."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from losa.adapt.data.reused_memory import ReusedMemory
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
        self, images: slice | Int64[np.ndarray, "_"], memory: ReusedMemory | None = None
    ) -> Float[Tensor, "images sites tokens width"]:
        """Decode the activations of some of the images, on the compute device.

        Args:
            images: positions in the batch.
            memory: memory for the result, which need not be used.
        """


@runtime_checkable  # so that beartype can check it while the tests run
class ActivationSource(Protocol):
    """Reads the activations of a split."""

    def read(self, indices: Int64[np.ndarray, "images"]) -> Batch:
        """Read some images, in the given order."""


@dataclass(frozen=True, slots=True)
class CodedBatch:
    """Codes on the compute device; only requested images are decoded."""

    codes: DeviceCodes
    codec: DeviceCodec

    def __len__(self) -> int:
        """Number of images."""
        return len(self.codes.values)

    def decode(
        self, images: slice | Int64[np.ndarray, "_"], memory: ReusedMemory | None = None
    ) -> Float32[Tensor, "images sites tokens width"]:
        """Decode the activations of some of the images; float32 codes may be returned as they are.

        Args:
            images: positions in the batch.
            memory: memory for the result, which float32 codes do not need.
        """
        values, scales = self.codes.values, self.codes.scales
        chosen = images if isinstance(images, slice) else torch.from_numpy(images).to(values.device)
        codes = DeviceCodes(values[chosen], None if scales is None else scales[chosen])
        if memory is None or values.dtype == torch.float32:
            return self.codec.decode(codes)
        return self.codec.decode(codes, memory.empty(self.codec.decoded_shape(codes), values.device))


class CachedActivations:
    """Reads from a cache, every time."""

    def __init__(self, split: Split, device: str) -> None:
        """Read the calibration of the split's sites.

        Args:
            split: the split to read.
            device: the compute device.
        """
        calibration = split.cache.calibration(split.sites)
        self.split = split
        self.codec = DeviceCodec(split.cache.manifest.features.codec, calibration, device)

    def read(self, indices: Int64[np.ndarray, "images"]) -> CodedBatch:
        """Read some images, in the given order."""
        return CodedBatch(self.codec.to_device(self.split.read(indices)), self.codec)


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
