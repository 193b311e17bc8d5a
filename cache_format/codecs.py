"""How activations become stored numbers and back: the numpy reference.

``losa.cache_format.device_codecs`` does the same on a torch device; a test holds the two equal.
Shape suffixes: N images, S sites, T tokens, D width.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped

from losa.cache_format.errors import NonFiniteActivations
from losa.cache_format.identity import CodecName

StorageDtype = Literal["float32", "float16", "uint16", "int8"]

INT8_LEVELS = 127
"""Codes run from -127 to 127: symmetric, so that negation is exact."""
SPREAD_FLOOR = 1e-2
"""Least spread of a channel, relative to the median channel of its site.

A channel that is constant in the sample may move elsewhere. With a spread near zero it would then
set the token's scale alone, and leave no levels to the other channels.
"""
CONSTANT = 1e-6
"""A channel varies if its spread, relative to its mean, is above this; below are rounding errors."""
SCALE_FLOOR = 1e-30
"""Least scale of a token: a token that equals the centre has none."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Activations as stored: ``values`` in the codec's storage dtype, ``scales`` if the codec has them."""

    values: Shaped[np.ndarray, "images sites tokens width"]
    scales: Float32[np.ndarray, "images sites tokens"] | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Per-channel centre and spread of each site, from a fixed sample of the data set."""

    centre: Float32[np.ndarray, "sites width"]
    spread: Float32[np.ndarray, "sites width"]

    @classmethod
    def from_moments(
        cls,
        count: int,
        total: Float64[np.ndarray, "sites width"],
        total_squares: Float64[np.ndarray, "sites width"],
    ) -> "Calibration":
        """Mean and standard deviation (with a floor) from sums over ``count`` tokens.

        Args:
            count: tokens of all images of the sample.
            total: sums of the values of each channel.
            total_squares: sums of their squares.
        """
        mean = total / count
        spread = np.sqrt(np.maximum(total_squares / count - mean**2, 0))
        floor = np.maximum(_spread_floor(mean, spread), np.finfo(np.float32).tiny)
        return cls(mean.astype(np.float32), np.maximum(spread, floor[:, None]).astype(np.float32))

    def select(self, sites: list[int]) -> "Calibration":
        """The calibration of a subset of sites, in the given order."""
        return Calibration(self.centre[sites], self.spread[sites])


def _spread_floor(
    mean: Float64[np.ndarray, "sites width"], spread: Float64[np.ndarray, "sites width"]
) -> Float64[np.ndarray, " sites"]:
    """A part of the median channel of those that vary; a site that does not vary has one spread."""
    varies = spread > CONSTANT * np.abs(mean)
    floors = [
        SPREAD_FLOOR * np.median(channels[moving]) if moving.any() else channels.max()
        for channels, moving in zip(spread, varies, strict=True)
    ]
    return np.array(floors, np.float64)


@runtime_checkable  # so that beartype can check it while the tests run
class Codec(Protocol):
    """Encodes float32 activations. Encoding is a pure function of each token: no history, no lookahead."""

    @property
    def name(self) -> CodecName:
        """The codec's name in manifest and configuration."""

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """float32 to codes."""

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Codes to float32."""


@dataclass(frozen=True, slots=True)
class CastCodec:
    """float32 and float16: stored as they are."""

    name: Literal["float32", "float16"]

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """Round to the storage dtype; values beyond its range become infinite."""
        with np.errstate(over="ignore"):
            return Codes(activations.astype(self.name))

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Widen to float32."""
        return codes.values.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Bfloat16Codec:
    """bfloat16, stored as uint16: the upper half of a float32, rounded to nearest even."""

    name: Literal["bfloat16"] = "bfloat16"

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """Round to the upper 16 bits."""
        bits = np.ascontiguousarray(activations, np.float32).view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        # Rounding must not turn a NaN with a small payload into infinity.
        return Codes(np.where(np.isnan(activations), 0x7FC0, rounded).astype(np.uint16))

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Put zeros below the stored bits."""
        bits = codes.values.astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)


@dataclass(frozen=True, slots=True)
class Int8Codec:
    """int8 after per-channel centre and spread, then one scale per token.

    ``code = round((x - centre) / spread / scale)`` with ``scale = max |(x - centre) / spread| / 127``
    over the channels of a token, so nothing is ever clipped.
    """

    calibration: Calibration
    name: Literal["int8"] = "int8"

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """Quantise, with the scale as it is stored."""
        centre_SD, spread_SD = self.calibration.centre, self.calibration.spread
        z_NSTD = (activations.astype(np.float32) - centre_SD[:, None]) / spread_SD[:, None]
        scale_NST = np.maximum(np.abs(z_NSTD).max(axis=-1) / np.float32(INT8_LEVELS), np.float32(SCALE_FLOOR))
        codes = np.clip(np.rint(z_NSTD / scale_NST[..., None]), -INT8_LEVELS, INT8_LEVELS)
        return Codes(codes.astype(np.int8), scale_NST)

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """``code * scale * spread + centre``."""
        assert codes.scales is not None, "int8 codes carry scales"
        z_NSTD = codes.values.astype(np.float32) * codes.scales[..., None]
        decoded: np.ndarray = z_NSTD * self.calibration.spread[:, None] + self.calibration.centre[:, None]
        return decoded


def storage_dtype(name: CodecName) -> StorageDtype:
    """Dtype in which a codec's values stand on disk."""
    return "uint16" if name == "bfloat16" else name


def has_scales(name: CodecName) -> bool:
    """Whether a codec stores one scale per token beside its values."""
    return name == "int8"


def make_codec(name: CodecName, calibration: Calibration | None = None) -> Codec:
    """The codec of a name; ``int8`` needs a calibration."""
    if name == "int8":
        assert calibration is not None, "codec int8 needs a calibration"
        return Int8Codec(calibration)
    return Bfloat16Codec() if name == "bfloat16" else CastCodec(name)


def needs_calibration(name: CodecName) -> bool:
    """Whether a codec is calibrated on a sample before the first shard."""
    return name == "int8"


def calibrate(activations: Float[np.ndarray, "images sites tokens width"]) -> Calibration:
    """Centre (mean) and spread (standard deviation, with a floor) of every channel of every site."""
    sample = activations.astype(np.float64)
    images, _, tokens, _ = sample.shape
    return Calibration.from_moments(images * tokens, sample.sum(axis=(0, 2)), (sample**2).sum(axis=(0, 2)))


def refuse_non_finite(name: CodecName, site: str, activations: int, codes: int) -> None:
    """Raise if a site has non-finite activations, or activations that the codec made non-finite.

    Args:
        name: the codec.
        site: where the values come from.
        activations: how many of the backbone's values are NaN or infinite.
        codes: how many are so after encoding and decoding.

    Raises:
        NonFiniteActivations: a count is not zero; the message names the site and the way out.
    """
    if activations:
        raise NonFiniteActivations(
            f"the backbone produced {activations} NaN or infinite values at site {site!r}: "
            "compute in a wider dtype (dtype=float32 or dtype=bfloat16), or check the weights"
        )
    if codes:
        wider = [f"codec={other}" for other in ("bfloat16", "int8", "float32") if other != name]
        raise NonFiniteActivations(
            f"{codes} values at site {site!r} are too large for codec={name}: use {wider[0]} or {wider[1]}"
        )
