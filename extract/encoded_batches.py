"""Images of shards through decoding, backbone and codec, batch by batch."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from losa.cache_format import Codes, Segment, SiteStatistics
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.cache_format.common.freed_memory import freed_memory_kept
from losa.extract.decode_workers import DecodedBatch
from losa.extract.encoding import Encoder, StartedEncoding
from losa.extract.forward_pass import ForwardPass, in_batches
from losa.extract.stages import StageClock

_AHEAD = {"cpu": 0, "cuda": 2}
"""Further batches that are queued on the device while the results of one are taken."""


class ShardBatch(NamedTuple):
    """Rows of a shard that go through the backbone together."""

    segment: Segment
    shard: int
    keys: Sequence[str]
    """Keys of the rows."""
    present: Sequence[str]
    """Those of them that the data set still has."""


class EncodedBatch(NamedTuple):
    """What became of a batch."""

    rows: ShardBatch
    codes: Codes
    """Codes of the valid images."""
    statistics: Sequence[SiteStatistics]
    """Statistics of every site over the valid images; empty if there are none."""
    outcomes: Sequence[bytes | str]
    """For each present image, the hash of its bytes or, if it is invalid, the reason."""
    turned: int
    """Number of images whose EXIF data have an orientation other than upright."""
    warnings: Sequence[str]
    """Warnings of the decoders; each one names its image."""


class _Started(NamedTuple):
    rows: ShardBatch
    decoded: DecodedBatch
    encoding: StartedEncoding


class EncodedBatches:
    """Iterator over encoded batches, in order, and a context manager that ends the decoding processes.

    Decoding, the transfer to the device, the backbone, encoding and the transfer back overlap: processes
    decode ahead, and a GPU has further batches queued while the results of one are taken. Within the context
    a CPU keeps the memory that a batch frees for the next one.
    """

    def __init__(
        self, forward: ForwardPass, codec: DeviceCodec, batches: Sequence[ShardBatch], clock: StageClock
    ) -> None:
        """Start the decoding processes.

        Call it before any thread is started; see `losa.extract.decoding.decode`.

        Args:
            forward: decodes images and runs the backbone.
            codec: encodes its activations, on its device.
            batches: what to encode.
            clock: is told how long decoding and backbone were waited for.
        """
        self._forward = forward
        self._encoder = Encoder(codec, forward.sites)
        self._batches = batches
        self._clock = clock
        self._ahead = _AHEAD[codec.device.type]
        self._decoded = forward.decode([batch.present for batch in batches])
        self._memory = freed_memory_kept(codec.device.type)
        self._results = self._run()

    @property
    def processes(self) -> int:
        """Number of decoding processes; 0: the main process decodes."""
        return self._decoded.processes

    def __enter__(self) -> "EncodedBatches":
        self._memory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.__exit__(kind, error, trace)
        self._decoded.__exit__(kind, error, trace)

    def __iter__(self) -> "EncodedBatches":
        return self

    def __next__(self) -> EncodedBatch:
        return next(self._results)

    def _run(self) -> Iterator[EncodedBatch]:
        started: deque[_Started] = deque()
        for rows in self._batches:
            decoded = next(self._decoded)
            self._clock.lap("decoding")
            encoding = self._encoder.start(self._forward.activations(decoded))
            started.append(_Started(rows, decoded, encoding))
            if len(started) > self._ahead:
                yield self._finish(started.popleft())
                self._clock.resume()  # the time of who takes the batches is not that of decoding
        while started:
            yield self._finish(started.popleft())
            self._clock.resume()

    def _finish(self, started: _Started) -> EncodedBatch:
        rows, decoded, encoding = started
        codes, statistics = encoding.finish()
        self._clock.lap("backbone")
        return EncodedBatch(rows, codes, statistics, decoded.outcomes, decoded.turned, decoded.warnings)


def shard_batches(
    segment: Segment, shard: int, keys: Sequence[str], departed: Callable[[str], bool], size: int
) -> Iterator[ShardBatch]:
    """The rows of a shard in batches, which never cross shards.

    Args:
        segment: segment of the shard.
        shard: its number.
        keys: keys of all images of the segment.
        departed: whether the data set no longer has an image.
        size: images per batch; the last one may be smaller.
    """
    rows = segment.rows(shard)
    for batch in in_batches(keys[rows.start : rows.stop], size):
        yield ShardBatch(segment, shard, batch, [key for key in batch if not departed(key)])
