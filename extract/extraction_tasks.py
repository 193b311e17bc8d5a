"""The parts of an extraction that the workers of an engine do."""

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import NamedTuple

import PIL
import timm
import torch

from losa.cache_format import Calibration
from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.threads import Threads, thread_count
from losa.cache_format.common.units import counted
from losa.cache_format.engines import Tell
from losa.cache_format.engines.contract import Item
from losa.extract.calibration import calibrate_from
from losa.extract.encoded_batches import EncodedBatch, EncodedBatches, ShardBatch
from losa.extract.forward_pass import ForwardPass, in_batches
from losa.extract.stages import Stage, StageClock

_log = logging.getLogger(__name__)


@contextmanager
def computing_threads(wanted: Threads) -> Iterator[None]:
    """A context in which torch computes on the CPU with as many threads as the option ``threads`` says.

    Other processes do not count: the number of threads decides the last bits of the features.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count(wanted, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Whole:
    """A task whose items are worked on as a whole."""

    def rest(self, item: Item, told: int) -> Item:  # noqa: ARG002 -- the same, whatever was told
        """All of the item."""
        return item


@dataclass(frozen=True, slots=True)
class MachineTask(_Whole):
    """Tells the versions and the hardware of a worker, on which the last bits of the features depend."""

    forward: ForwardPass
    threads: Threads

    def __call__(self, item: None, tell: Tell) -> None:  # noqa: ARG002 -- there is only one
        """Tell names and values."""
        device = self.forward.device
        with computing_threads(self.threads):
            tell(
                {
                    "losa": version("losa"),
                    "timm": timm.__version__,
                    "torch": torch.__version__,
                    "pillow": PIL.__version__,
                    **self.forward.video_versions,
                    "machine": platform.machine(),
                    "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
                    "threads": str(torch.get_num_threads()),
                }
            )


@dataclass(frozen=True, slots=True)
class CalibrationTask(_Whole):
    """Calibrates on images, and tells the `Calibration`."""

    forward: ForwardPass
    threads: Threads
    batch_size: int

    def __call__(self, item: Sequence[str], tell: Tell) -> None:
        """Calibrate on the images with these keys."""
        with computing_threads(self.threads):
            tell(calibrate_from(self._activations(item), self.forward.sites))

    def _activations(self, keys: Sequence[str]) -> Iterator[torch.Tensor]:
        with (
            self.forward.decode(in_batches(keys, self.batch_size)) as batches,
            progress_bar(len(keys), "calibrating", "img", leave=False) as bar,
        ):
            for decoded in batches:
                self.forward.count_invalid(decoded.outcomes)
                yield self.forward.activations(decoded)
                bar.update(len(decoded.outcomes))


class Encoded(NamedTuple):
    """What came of one or more batches."""

    batches: Sequence[EncodedBatch]
    seconds: dict[Stage, float]
    """How long each stage was waited for."""


@dataclass(frozen=True, slots=True)
class EncodingTask:
    """Decodes images, runs the backbone and encodes, and tells `Encoded`.

    An item is what `shard_batches` returned for some shards, one after the other.
    """

    forward: ForwardPass
    threads: Threads
    codec: CodecName
    calibration: Calibration | None
    whole_shards: bool
    """Whether shards are told whole, for a command that has several workers; else batch by batch."""

    def __call__(self, item: Sequence[ShardBatch], tell: Tell) -> None:
        """Encode the batches of the shards."""
        clock = StageClock()
        with computing_threads(self.threads):
            codec = DeviceCodec(self.codec, self.calibration, self.forward.device)
            with EncodedBatches(self.forward, codec, item, clock) as encoded:
                _log.info(
                    "%s (threads=%s), %s",
                    counted(torch.get_num_threads(), "thread", "threads"),
                    self.threads,
                    counted(encoded.processes, "process that decodes", "processes that decode"),
                )
                for batches in _by_shard(encoded) if self.whole_shards else ([each] for each in encoded):
                    tell(Encoded(batches, clock.take()))

    def rest(self, item: Sequence[ShardBatch], told: int) -> Sequence[ShardBatch]:
        """The batches of the shards that were not told."""
        shards = list(dict.fromkeys(map(_shard, item)))
        left = set(shards[told:])
        return [batch for batch in item if _shard(batch) in left]


def _by_shard(encoded: Iterator[EncodedBatch]) -> Iterator[list[EncodedBatch]]:
    for _, batches in groupby(encoded, key=lambda batch: _shard(batch.rows)):
        yield list(batches)


def _shard(batch: ShardBatch) -> tuple[str, int]:
    return batch.segment.name, batch.shard
