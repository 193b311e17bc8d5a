"""int8 and int4: normalised channels as integers, with a scale for every group of channels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int8, UInt8

from losa.cache_format.codecs.calibration import Calibration
from losa.cache_format.codecs.codec import Codes

IntegerName = Literal["int8", "int4"]

ZERO = 8
"""The nibble that stores code 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerFormat:
    """Parameters of an integer codec in codec version 1. They are part of the format, not options."""

    levels: int
    """Largest code. Codes run from ``-levels`` to ``levels``: symmetric, so that negation is exact."""
    group: int | None
    """Channels that share a scale; a token's last group may be smaller. None: all channels of a token."""
    scale_dtype: Literal["float32", "float16"]
    scale_floor: float
    """Least scale, a normal number of its dtype, for groups whose values equal the centre."""
    packed: bool
    """Whether a byte stores two codes (see `pack`)."""

    @property
    def dtype(self) -> Literal["int8", "uint8"]:
        """Dtype of the stored values."""
        return "uint8" if self.packed else "int8"

    def stored_width(self, width: int) -> int:
        """Number of stored values of a token."""
        return -(-width // 2) if self.packed else width

    def group_size(self, width: int) -> int:
        """Number of channels of a group, except the last one of a token."""
        return self.group or width

    def groups(self, width: int) -> int:
        """Number of scales of a token."""
        return -(-width // self.group_size(width))


INTEGER_FORMATS: dict[IntegerName, IntegerFormat] = {
    "int8": IntegerFormat(levels=127, group=None, scale_dtype="float32", scale_floor=1e-30, packed=False),
    "int4": IntegerFormat(levels=7, group=32, scale_dtype="float16", scale_floor=2.0**-14, packed=True),
}


def pack(codes: Int8[np.ndarray, "images sites tokens width"]) -> UInt8[np.ndarray, "images sites tokens _"]:
    """Pack pairs of codes from -7 to 7 into bytes.

    A code is stored as an unsigned nibble, which is the code plus 8; nibble 0 never occurs. The low nibble
    has the even channel, the high nibble the odd channel after it. If the width is odd, the last high nibble
    is 8.

    >>> pack(np.array([[[[-7, 0, 7]]]], np.int8))
    array([[[[129, 143]]]], dtype=uint8)
    """
    odd = codes.shape[-1] % 2
    nibbles = (np.pad(codes, [(0, 0), (0, 0), (0, 0), (0, odd)]) + np.int8(ZERO)).view(np.uint8)
    return nibbles[..., 0::2] | nibbles[..., 1::2] << np.uint8(4)


def unpack(
    packed: UInt8[np.ndarray, "images sites tokens _"], width: int
) -> Int8[np.ndarray, "images sites tokens {width}"]:
    """Unpack bytes into the codes of ``width`` channels.

    >>> unpack(np.array([[[[129, 143]]]], np.uint8), 3)
    array([[[[-7,  0,  7]]]], dtype=int8)
    """
    nibbles = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).view(np.int8)
    return nibbles.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :width] - np.int8(ZERO)


@dataclass(frozen=True, slots=True)
class IntegerCodec:
    """Quantises channels after subtracting their centre and dividing by their spread.

    With ``z = (x - centre) / spread``, the scale of a group is ``max |z| / levels`` over its channels,
    rounded to the dtype in `IntegerFormat`, and ``code = round(z / scale)`` with the rounded scale. Values
    are never clipped. If a scale overflows its dtype, the whole group decodes to NaN or infinity.
    """

    calibration: Calibration
    name: IntegerName

    @property
    def format(self) -> IntegerFormat:
        """Levels, groups and packing."""
        return INTEGER_FORMATS[self.name]

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """Quantise activations, with scales as they will be stored."""
        form, centre_SD, spread_SD = self.format, self.calibration.centre, self.calibration.spread
        width = activations.shape[-1]
        starts = range(0, width, form.group_size(width))
        with np.errstate(over="ignore", invalid="ignore"):
            z_NSTD = (activations.astype(np.float32) - centre_SD[:, None]) / spread_SD[:, None]
            largest_NSTG = np.maximum.reduceat(np.abs(z_NSTD), starts, axis=-1)
            scale_NSTG = (largest_NSTG / np.float32(form.levels)).astype(form.scale_dtype)
            scale_NSTG = np.maximum(scale_NSTG, np.array(form.scale_floor, form.scale_dtype))
            rounded = np.rint(z_NSTD / self._of_channels(scale_NSTG))
            codes = np.clip(rounded, -form.levels, form.levels).astype(np.int8)
        return Codes(pack(codes) if form.packed else codes, scale_NSTG)

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Compute ``code * scale * spread + centre``."""
        assert codes.scales is not None, f"{self.name} codes carry scales"
        centre_SD, spread_SD = self.calibration.centre, self.calibration.spread
        values = unpack(codes.values, centre_SD.shape[1]) if self.format.packed else codes.values
        with np.errstate(invalid="ignore"):
            z_NSTD = values.astype(np.float32) * self._of_channels(codes.scales)
            decoded: np.ndarray = z_NSTD * spread_SD[:, None] + centre_SD[:, None]
        return decoded

    def _of_channels(
        self, scales: Float[np.ndarray, "images sites tokens groups"]
    ) -> Float32[np.ndarray, "images sites tokens width"]:
        """The scale of each channel."""
        width = self.calibration.centre.shape[1]
        wide = np.repeat(scales.astype(np.float32), self.format.group_size(width), axis=-1)
        return wide[..., :width]
