"""Size and loss of each codec on the activations of a float32 cache.

Beside the codecs of the cache format, a candidate is measured: delta along sites. It encodes the difference
of every site from the decoded site before it as integers, so that errors do not add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt
from numcodecs import Blosc, Zstd
from rich.table import Table

from losa.cache_format import Cache, Calibration, Codes, LosaError, calibrate, make_codec
from losa.cache_format.codecs import CodecName
from losa.cache_format.codecs.integer import INTEGER_FORMATS, IntegerName, unpack
from losa.extract.calibration import SAMPLE_IMAGES, SAMPLE_SEED

CODECS: tuple[CodecName, ...] = ("float32", "float16", "bfloat16", "int8", "int4")


class _Coder(Protocol):
    def encode(self, activations: Float32[np.ndarray, "images sites tokens width"]) -> Codes: ...
    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]: ...


@dataclass(frozen=True, slots=True)
class _DeltaCodec:
    """Encodes in a closed loop: the decoded values of a site predict the next site."""

    name: IntegerName
    calibration: Calibration
    """Calibration of the differences. That of the first site is its difference from zero."""

    def encode(self, activations: Float32[np.ndarray, "images sites tokens width"]) -> Codes:
        encoded, previous = [], np.zeros_like(activations[:, :1])
        for site in range(activations.shape[1]):
            codec = make_codec(self.name, self.calibration.select([site]))
            encoded.append(codec.encode(activations[:, [site]] - previous))
            previous += codec.decode(encoded[-1])
        scales = [codes.scales for codes in encoded if codes.scales is not None]
        return Codes(np.concatenate([codes.values for codes in encoded], 1), np.concatenate(scales, 1))

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        differences = make_codec(self.name, self.calibration).decode(codes)
        return np.cumsum(differences, axis=1, dtype=np.float32)


@dataclass(slots=True)
class _Measured:
    """Errors, counts of codes and sizes of one codec, summed over images."""

    error: Float64[np.ndarray, "sites width"] | float = 0.0
    counts: Int64[np.ndarray, "sites symbols"] | None = None
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("", "_zstd", "_lz4"), 0))


def codec_table(
    cache: str | Path, split: str, images: int, sample: int = SAMPLE_IMAGES
) -> list[dict[str, Any]]:
    """Measure every codec on some images after calibration on others.

    The result is a function of the arguments alone.

    A row has, in this order,

    - ``codec``;
    - ``bytes_per_image``, scales included, and the same after compression of each image's codes and scales:
      ``bytes_per_image_zstd`` (level 3) and ``bytes_per_image_lz4`` (blosc, lz4 after bitshuffle);
    - ``snr_db``, the mean over sites of the signal-to-noise ratio in dB, and the minima
      ``snr_db_worst_site`` and ``snr_db_worst_channel`` (over the channels of all sites). The signal is the
      second moment;
    - ``snr_db_worst_channel_centred``, where the signal is the variance;
    - ``entropy_bits_per_value``, the entropy of a site's codes, mean over sites. None for float32, which has
      more codes than there are values to count;
    - ``snr_db_per_site``.

    Args:
        cache: folder or URL of a cache written with ``codec=float32``.
        split: split to measure.
        images: number of images to measure; all that remain after the sample if there are fewer.
        sample: number of images to calibrate on.

    Raises:
        LosaError: the cache has another codec, or no image remains to measure.
    """
    opened = Cache(cache)
    if opened.manifest.features.codec != "float32":
        raise LosaError(f"{cache}: expected codec=float32, found codec={opened.manifest.features.codec}")
    opened.manifest.split(split, advice="; choose with --split")
    source = opened.split(split)
    valid = np.flatnonzero(source.valid)
    order = np.random.default_rng(SAMPLE_SEED).permutation(valid)
    measured_rows = order[sample : sample + images]
    if not len(measured_rows):
        raise LosaError(
            f"split {split!r} has {len(valid)} valid images: expected more than the sample's {sample}"
        )
    coders = _calibrated(opened, split, np.sort(order[:sample]))
    measured = {name: _Measured() for name in coders}
    total = total_squares = np.zeros(())
    for row in np.sort(measured_rows):
        activations = source.read(np.array([row])).values
        wide = activations[0].astype(np.float64)
        total, total_squares = total + wide.sum(axis=1), total_squares + (wide**2).sum(axis=1)
        for name, coder in coders.items():
            _measure(measured[name], coder, activations)
    values = len(measured_rows) * source.image_shape[1]
    variance = np.maximum(total_squares - total**2 / values, 0)
    return [_row(name, sums, len(measured_rows), total_squares, variance) for name, sums in measured.items()]


def codec_report(rows: Sequence[dict[str, Any]]) -> Table:
    """Show one line for each codec."""
    table = Table()
    table.add_column("codec", no_wrap=True)
    titles = {
        "bytes_per_image": "bytes/image",
        "bytes_per_image_zstd": "with zstd",
        "bytes_per_image_lz4": "with lz4",
        "snr_db": "SNR dB",
        "snr_db_worst_site": "worst site",
        "snr_db_worst_channel": "worst channel",
        "snr_db_worst_channel_centred": "the same, centred",
        "entropy_bits_per_value": "entropy, bits",
    }
    for title in titles.values():
        table.add_column(title, justify="right")
    for row in rows:
        cells = (row[name] for name in titles)
        shown = (
            f"{cell:,}" if isinstance(cell, int) else "" if cell is None else f"{cell:.1f}" for cell in cells
        )
        table.add_row(row["codec"], *shown)
    return table


def _calibrated(cache: Cache, split: str, rows: Int64[np.ndarray, "images"]) -> dict[str, _Coder]:
    """Return every codec, calibrated. The sample is read site by site, for all sites may exceed memory."""
    plain: list[Calibration] = []
    deltas: dict[IntegerName, list[Calibration]] = {name: [] for name in INTEGER_FORMATS}
    decoded: dict[IntegerName, Any] = dict.fromkeys(INTEGER_FORMATS, np.float32(0))
    for site in cache.sites:
        activations = cache.split(split, [site]).read(rows).values
        plain.append(calibrate(activations))
        for name, found in deltas.items():
            difference = activations - decoded[name]
            found.append(calibrate(difference))
            codec = make_codec(name, found[-1])
            decoded[name] = decoded[name] + codec.decode(codec.encode(difference))
    coders: dict[str, _Coder] = {name: make_codec(name, _joined(plain)) for name in CODECS}
    return coders | {f"{name}-delta": _DeltaCodec(name, _joined(found)) for name, found in deltas.items()}


def _joined(sites: Sequence[Calibration]) -> Calibration:
    centres, spreads = ([getattr(site, name) for site in sites] for name in ("centre", "spread"))
    return Calibration(np.concatenate(centres), np.concatenate(spreads))


def _measure(
    sums: _Measured, coder: _Coder, activations: Float32[np.ndarray, "images sites tokens width"]
) -> None:
    codes = coder.encode(activations)
    error = coder.decode(codes).astype(np.float64) - activations
    sums.error = sums.error + (error**2).sum(axis=(0, 2))
    for array in (codes.values, codes.scales):
        if array is not None:
            sums.bytes[""] += array.nbytes
            sums.bytes["_zstd"] += len(Zstd(level=3).encode(array))
            sums.bytes["_lz4"] += len(Blosc(cname="lz4", shuffle=Blosc.BITSHUFFLE).encode(array))
    if codes.values.itemsize <= 2:
        counts = np.stack(
            [_count(codes.values[:, site], activations.shape[-1]) for site in range(error.shape[1])]
        )
        sums.counts = counts if sums.counts is None else sums.counts + counts


def _count(values: np.ndarray, width: int) -> Int64[np.ndarray, " symbols"]:
    symbols = unpack(values[:, None], width) if values.dtype == np.uint8 else values
    unsigned: UInt[np.ndarray, "..."] = np.ascontiguousarray(symbols).view(f"u{symbols.itemsize}")
    return np.bincount(unsigned.ravel(), minlength=2 ** (8 * symbols.itemsize))


def _row(
    name: str,
    sums: _Measured,
    images: int,
    squares: Float64[np.ndarray, "sites width"],
    variance: Float64[np.ndarray, "sites width"],
) -> dict[str, Any]:
    error = np.asarray(sums.error)
    per_site = _decibels(squares.sum(axis=1), error.sum(axis=1))
    return {
        "codec": name,
        **{f"bytes_per_image{suffix}": round(total / images) for suffix, total in sums.bytes.items()},
        "snr_db": float(per_site.mean()),
        "snr_db_worst_site": float(per_site.min()),
        "snr_db_worst_channel": float(_decibels(squares, error).min()),
        "snr_db_worst_channel_centred": float(_decibels(variance, error).min()),
        "entropy_bits_per_value": None if sums.counts is None else _entropy(sums.counts),
        "snr_db_per_site": per_site.tolist(),
    }


def _decibels(signal: Float64[np.ndarray, "..."], noise: Float64[np.ndarray, "..."]) -> np.ndarray:
    """Ratio in dB; infinite without noise, as in `SiteStatistics`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))


def _entropy(counts: Int64[np.ndarray, "sites symbols"]) -> float:
    shares = counts / counts.sum(axis=1, keepdims=True)
    bits = -np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return float((shares * bits).sum(axis=1).mean())
