"""Decodes images in worker processes: batches of keys become batches of network inputs."""

import signal
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from losa.cache_format.errors import LosaError
from losa.extract.loader import ImageLoader
from losa.extract.preprocessing import Transform
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import not_now


class DecodedBatch(NamedTuple):
    """Network inputs of the valid images of a batch, and the outcome for every image."""

    images: Float[Tensor, "images channels height columns"]
    outcomes: list[bytes | str]
    """For each image of the batch, the hash of its bytes or, if it is invalid, the reason."""
    turned: int = 0
    """Number of images whose EXIF data have an orientation other than upright, applied or not."""
    warnings: tuple[str, ...] = ()
    """Warnings of the decoders; each one names its image."""


class _DecodedImage(NamedTuple):
    image: Tensor | None
    outcome: bytes | str
    turned: bool = False
    warnings: tuple[str, ...] = ()


Decoded = _DecodedImage | LosaError
"""The result for one image. An error that ends the extraction is a value: torch would wrap a raised one."""


class _Decoding(Dataset[Decoded]):
    def __init__(self, loader: ImageLoader, transform: Transform, keys: Sequence[str]) -> None:
        self.loader = loader
        self.transform = transform
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Decoded:
        key = self.keys[index]
        try:
            image, source_hash, turned, warnings = self.loader.load(key)
            named = tuple(f"{key}: {warning}" for warning in warnings)
            return _DecodedImage(self.transform(image), source_hash, turned, named)
        except InvalidImage as error:
            return _DecodedImage(None, f"{key}: {error}")
        except LosaError as error:
            return LosaError(str(error))
        except MemoryError:
            return not_now(key, "not enough memory")


class _Collate:
    def __init__(self, input_size: tuple[int, int, int]) -> None:
        self.input_size = input_size

    def __call__(self, items: list[Decoded]) -> DecodedBatch | LosaError:
        decoded = []
        for item in items:
            if isinstance(item, LosaError):
                return item
            decoded.append(item)
        images = [item.image for item in decoded if item.image is not None]
        return DecodedBatch(
            images=torch.stack(images) if images else torch.empty(0, *self.input_size),
            outcomes=[item.outcome for item in decoded],
            turned=sum(item.turned for item in decoded),
            warnings=tuple(warning for item in decoded for warning in item.warnings),
        )


def _leave_termination_to_the_main_process(worker: int) -> None:  # noqa: ARG001 -- given by torch
    """Ignore SIGTERM, which job schedulers send to all processes: torch would report a killed worker."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class DecodedBatches:
    """Iterator over decoded batches, in order. Closing it ends the workers, and so does its end or an error.

    Not a generator: from Python 3.12 on, closing one before its first batch does not run its ``finally``
    and keeps what it holds, the workers among it.
    """

    def __init__(self, loaded: Iterator[DecodedBatch | LosaError]) -> None:
        self._loaded = loaded

    def __iter__(self) -> "DecodedBatches":
        return self

    def __next__(self) -> DecodedBatch:
        try:
            batch = next(self._loaded)
            if isinstance(batch, LosaError):
                raise batch
        except BaseException:
            self.close()
            raise
        return batch

    def close(self) -> None:
        """End the workers; no further batch comes."""
        # torch ends them once nothing refers to its iterator, but the traceback of an error does.
        if (end_workers := getattr(self._loaded, "_shutdown_workers", None)) is not None:
            end_workers()
        for worker in getattr(self._loaded, "_workers", ()):
            worker.kill()  # one that waits for a file does not end when it is told to
        self._loaded = iter(())


def decode(
    loader: ImageLoader,
    transform: Transform,
    batches: Sequence[Sequence[str]],
    *,
    input_size: tuple[int, int, int],
    workers: int,
    pin_memory: bool,
) -> DecodedBatches:
    """Decode batches of keys in worker processes, in order and ahead of the consumer.

    The workers start with this call, not with the first batch: call it before any thread is started, because
    a fork would leave threads in an unknown state. Where Python does not fork (3.14), loader and
    transform are pickled. Closing the result ends the workers.

    Args:
        loader: loads the images.
        transform: makes a network input of an image.
        batches: keys of the images of each batch.
        input_size: channels, height and width of a network input.
        workers: number of processes; 0: decode in this process.
        pin_memory: whether the inputs are copied to pinned memory.

    Raises:
        LosaError: at the batch with an image that the machine cannot read at the moment.
    """
    keys = [key for batch in batches for key in batch]
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + len(batch))
    batched = DataLoader(
        _Decoding(loader, transform, keys),
        batch_sampler=[list(range(a, b)) for a, b in pairwise(starts)],
        num_workers=min(workers, len(batches)),
        collate_fn=_Collate(input_size),
        pin_memory=pin_memory,
        worker_init_fn=_leave_termination_to_the_main_process,
    )
    return DecodedBatches(iter(batched))
