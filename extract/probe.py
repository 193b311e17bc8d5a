"""Short trials of the stages of an extraction on this machine, before it begins."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from losa.cache_format import Segment
from losa.cache_format.codecs import CodecName, needs_calibration
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.cache_format.storage.free_space import existing_folder
from losa.cache_format.storage.paths import CachePath
from losa.extract.calibration import calibrate_from
from losa.extract.encoded_batches import EncodedBatches, ShardBatch
from losa.extract.forward_pass import ForwardPass, in_batches
from losa.extract.stages import Stage, StageClock

MOST_SECONDS = 10.0
"""After so long a trial of the backbone takes no further batch."""
WORTH_BATCHES = 64
"""An extraction with fewer batches is over before a trial of it would have paid."""
_FEWEST_BATCHES, _MOST_BATCHES = 3, 8
_PART = 20
"""A trial takes this part of the batches at most, beyond the fewest."""
_DISK_BYTES = 32_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """What a trial has found."""

    images_per_s: float
    """Images per second through decoding, backbone and codec, as they overlap in an extraction."""
    start_seconds: float
    """Seconds until the first batch was there."""
    bottleneck: Stage
    """Which of them was waited for longest."""
    write_bytes_per_s: float | None
    """Writing to the disk of the cache, fsync included; None where it is no disk of this machine."""
    read_bytes_per_s: float | None
    """Reading from that disk what is not in memory."""


def try_out(
    forward: ForwardPass,
    codec: CodecName,
    segment: Segment,
    keys: Sequence[str],
    *,
    batch_size: int,
    cache: CachePath,
    thorough: bool = False,
) -> Speeds:
    """Extract a few images, spread over those to come, without keeping anything.

    Args:
        forward: decodes images and runs the backbone.
        codec: name of the codec. If it needs a calibration, the first batch gives one.
        segment: any segment of the cache.
        keys: keys of the images that are to be extracted, at least one.
        batch_size: images per forward pass.
        cache: folder of the cache; the disk it is on is tried, too.
        thorough: whether the trial may take longer than a small part of the extraction.
    """
    # The first batch of each process is left out: they come together.
    unmeasured = max(1, forward.workers)
    least = _MOST_BATCHES if thorough else _FEWEST_BATCHES
    measured = min(max(least, len(keys) // batch_size // _PART), _MOST_BATCHES + unmeasured)
    chosen = _spread(keys, (unmeasured + measured) * batch_size)
    batches = [ShardBatch(segment, 0, batch, batch) for batch in in_batches(chosen, batch_size)]
    calibration = None
    if needs_calibration(codec):
        with forward.decode([batches[0].keys]) as decoded:
            calibration = calibrate_from(map(forward.activations, decoded), forward.sites)
    device_codec = DeviceCodec(codec, calibration, forward.device)
    clock = StageClock()
    images = 0
    start = time.perf_counter()
    with EncodedBatches(forward, device_codec, batches, clock) as encoded:
        for number, batch in enumerate(encoded):
            if number == 0:
                started = time.perf_counter() - start
            images += len(batch.rows.keys)
            if number == unmeasured - 1 and len(batches) > unmeasured:
                clock.take()
                images = 0
            if clock.total > MOST_SECONDS:
                break
    write, read = _try_disk(cache) or (None, None)
    return Speeds(
        images_per_s=images / clock.total,
        start_seconds=started,
        bottleneck=clock.bottleneck,
        write_bytes_per_s=write,
        read_bytes_per_s=read,
    )


def _spread(keys: Sequence[str], count: int) -> Sequence[str]:
    """So many of the keys, at equal distances; all of them if there are fewer."""
    if len(keys) <= count:
        return keys
    return [keys[index * len(keys) // count] for index in range(count)]


def _try_disk(cache: CachePath) -> tuple[float, float] | None:
    """Bytes per second of writing and of reading, from a file that has no name and is gone afterwards."""
    if not isinstance(cache, Path):
        return None
    data = os.urandom(_DISK_BYTES)
    try:
        with tempfile.TemporaryFile(dir=existing_folder(cache)) as file:
            start = time.perf_counter()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            written = time.perf_counter()
            if not hasattr(os, "posix_fadvise"):
                return None
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is read from the disk
            file.seek(0)
            again = time.perf_counter()
            file.read()
            read = time.perf_counter()
    except OSError:  # the extraction itself will say what is wrong with the folder
        return None
    return _DISK_BYTES / (written - start), _DISK_BYTES / (read - again)
