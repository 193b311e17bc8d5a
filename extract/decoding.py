"""Decodes images in worker processes: batches of keys become batches of network inputs."""

import errno
import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from losa.cache_format.errors import LosaError
from losa.extract.clip_loader import ClipLoader
from losa.extract.decode_workers import (
    SECONDS_BETWEEN_CHECKS,
    DecodedBatch,
    DecodedBatches,
    no_room,
    prepare_worker,
)
from losa.extract.loader import ImageLoader
from losa.extract.preprocessing import Transform
from losa.extract.shared_memory import fit_processes
from losa.extract.sources import InvalidImage
from losa.extract.sources.base import not_now

Loader = ImageLoader | ClipLoader


class _DecodedImage(NamedTuple):
    image: Tensor | None
    outcome: bytes | str
    turned: bool = False
    warnings: tuple[str, ...] = ()


Decoded = _DecodedImage | LosaError
"""The result for one image. An error that ends the extraction is a value: torch would wrap a raised one."""


class _Decoding(Dataset[Decoded]):
    def __init__(self, loader: Loader, transform: Transform, keys: Sequence[str]) -> None:
        self.loader = loader
        self.transform = transform
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Decoded:
        key = self.keys[index]
        try:
            loaded = self.loader.load(key)
            named = tuple(f"{key}: {warning}" for warning in loaded.warnings)
            return _DecodedImage(loaded.prepared(self.transform), loaded.source_hash, loaded.turned, named)
        except InvalidImage as error:
            return _DecodedImage(None, f"{key}: {error}")
        except LosaError as error:
            return LosaError(str(error))
        except MemoryError:
            return not_now(key, "not enough memory")


class _Collate:
    def __init__(self, input_size: tuple[int, ...]) -> None:
        self.input_size = input_size

    def __call__(self, items: list[Decoded]) -> DecodedBatch | LosaError:
        try:
            return self._collate(items)
        except RuntimeError as error:
            if "shared memory" in str(error):
                return no_room(os.strerror(errno.ENOSPC))
            raise

    def _collate(self, items: list[Decoded]) -> DecodedBatch | LosaError:
        decoded = []
        for item in items:
            if isinstance(item, LosaError):
                return item
            decoded.append(item)
        images = [item.image for item in decoded if item.image is not None]
        return DecodedBatch(
            # In a worker process, torch collates into shared memory.
            images=default_collate(images) if images else torch.empty(0, *self.input_size),
            outcomes=[item.outcome for item in decoded],
            turned=sum(item.turned for item in decoded),
            warnings=tuple(warning for item in decoded for warning in item.warnings),
        )


def decode(
    loader: Loader,
    transform: Transform,
    batches: Sequence[Sequence[str]],
    *,
    input_size: tuple[int, ...],
    workers: int,
    pin_memory: bool,
) -> DecodedBatches:
    """Decode batches of keys in worker processes, in order and ahead of the consumer.

    The workers start with this call, not with the first batch: call it before any thread is started, because
    a fork would leave threads in an unknown state. Where Python does not fork (3.14), loader and
    transform are pickled. Closing the result ends the workers.

    Args:
        loader: loads the images, or the clips of videos.
        transform: makes a network input of an image, or of a frame.
        batches: keys of the images of each batch.
        input_size: channels, height and width of a network input, with the frames before them for a clip.
        workers: number of processes; 0: decode in this process.
        pin_memory: whether the inputs are copied to pinned memory.

    Raises:
        LosaError: the processes cannot be started; or, at a batch, the machine cannot read an image at the
            moment; or for a reason of `losa.extract.decode_workers.DecodedBatches`.
    """
    keys = [key for batch in batches for key in batch]
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + len(batch))
    largest = max(map(len, batches), default=0)
    batch_bytes = largest * math.prod(input_size) * torch.float32.itemsize
    count, ahead = fit_processes(min(workers, len(batches)), batch_bytes)
    batched = DataLoader(
        _Decoding(loader, transform, keys),
        batch_sampler=_Ranges(starts),
        num_workers=count,
        prefetch_factor=ahead if count else None,
        collate_fn=_Collate(input_size),
        pin_memory=pin_memory,
        worker_init_fn=prepare_worker,
        timeout=SECONDS_BETWEEN_CHECKS if count else 0,
    )
    try:
        return DecodedBatches(iter(batched))
    except OSError as error:
        raise LosaError(
            f"the decoding processes cannot be started: {error.strerror or error}. Remove the cause, or "
            "decode in the main process with workers=0"
        ) from error


class _Ranges(Sampler[list[int]]):
    """The numbers of the images of each batch, which together would take more memory than the keys."""

    def __init__(self, starts: Sequence[int]) -> None:
        self.starts = starts

    def __iter__(self) -> Iterator[list[int]]:
        return (list(range(start, stop)) for start, stop in pairwise(self.starts))

    def __len__(self) -> int:
        return len(self.starts) - 1
