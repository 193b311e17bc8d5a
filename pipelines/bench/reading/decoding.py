"""Decoding, which reading does not include: codes in memory to float32 on this processor."""

import numpy as np

from losa.cache_format import Cache
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.pipelines.bench.reading.noise_cache import SPLIT
from losa.pipelines.bench.reading.readers import Images, Indices, Read, Reader

DECODE = "decode to float32"


def decoder(cache: Cache, batch: int) -> Reader:
    """Decodes the first images of the cache, over and over, with torch's own number of threads.

    Raises:
        RuntimeError: what it decodes is not what the numpy reference decodes.
    """
    split = cache.split(SPLIT)
    codec = DeviceCodec(cache.manifest.features.codec, cache.calibration(split.sites), "cpu")
    codes = codec.to_device(split.read(np.arange(min(batch, len(split)))))

    def decode(indices: Indices) -> Images:
        scales = None if codes.scales is None else codes.scales[: len(indices)]
        return Images(codec.decode(type(codes)(codes.values[: len(indices)], scales)).numpy(), None)

    def start() -> Read:
        return decode

    one = np.arange(1)
    if not np.array_equal(decode(one).values, cache.codec(split.sites).decode(split.read(one))):
        raise RuntimeError(f"{DECODE}: not what the reference decodes")
    return Reader(DECODE, start, whole=False)
