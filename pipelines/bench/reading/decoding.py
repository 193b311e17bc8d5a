"""The speed of decoding codes in memory to float32 on this processor; reading does not include it."""

import numpy as np

from losa.cache_format import Cache
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.pipelines.bench.reading.noise_cache import SPLIT
from losa.pipelines.bench.reading.readers import Images, Indices, ReadImages, TimedReader

DECODE = "decode to float32"


def decoder(cache: Cache, batch: int) -> TimedReader:
    """Return a reader that decodes the first images of the cache repeatedly, with torch's number of threads.

    Raises:
        RuntimeError: it decodes other values than the numpy reference.
    """
    split = cache.split(SPLIT)
    codec = DeviceCodec(cache.manifest.features.codec, cache.calibration(split.sites), "cpu")
    codes = codec.to_device(split.read(np.arange(min(batch, len(split)))))

    def decode(indices: Indices) -> Images:
        scales = None if codes.scales is None else codes.scales[: len(indices)]
        return Images(codec.decode(type(codes)(codes.values[: len(indices)], scales)).numpy(), None)

    def start() -> ReadImages:
        return decode

    one = np.arange(1)
    if not np.array_equal(decode(one).values, cache.codec(split.sites).decode(split.read(one))):
        raise RuntimeError(f"{DECODE}: other values than those of the reference")
    return TimedReader(DECODE, start, whole=False)
