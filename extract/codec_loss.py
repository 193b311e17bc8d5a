"""Tells what a codec loses of the features, once they are written."""

import logging
from collections.abc import Sequence

from losa.cache_format import CacheWriter, CorruptCache
from losa.cache_format.storage.paths import shell_path

_log = logging.getLogger(__name__)

POOR_SNR_DB = {"float16": 30.0, "bfloat16": 30.0, "int8": 30.0, "int4": 15.0}
"""Signal-to-noise ratios, in dB, below which a codec is warned of.

On the features of a trained ViT, int8 reaches 43 to 46 dB, int4 21 to 23 dB, and the others more.
"""


def tell_codec_loss(writer: CacheWriter, codec: str, sites: Sequence[str]) -> None:
    """Log the signal-to-noise ratio of a codec at its worst and best site, and warn of a poor one.

    Args:
        writer: of a cache, all of whose shards that this run writes are committed.
        codec: that of the cache; float32 loses nothing.
        sites: those of the cache, in order.
    """
    if codec == "float32":
        return
    try:
        measured = zip(writer.statistics(), sites, strict=True)
    except CorruptCache as error:  # a record of a split that was not requested
        _log.warning("%s. Run losa-cache verify %s for details.", error, shell_path(writer.path))
        return
    decibels = [(statistics.snr_db, site) for statistics, site in measured if statistics.count]
    if not decibels:
        return
    (low, site), (high, _) = min(decibels), max(decibels)
    _log.info("codec=%s: signal-to-noise ratio %.1f (%s) to %.1f dB", codec, low, site, high)
    if low < POOR_SNR_DB[codec]:
        _log.warning("%.1f dB is low: compare with codec=bfloat16 before you rely on it", low)
