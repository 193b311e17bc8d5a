"""int8 and int4: integers after per-channel centre and spread, with a scale for every group of channels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from losa.cache_format.codecs.calibration import Calibration
from losa.cache_format.codecs.codec import Codes
from losa.cache_format.codecs.integer_format import INTEGER_FORMATS, IntegerFormat, IntegerName
from losa.cache_format.codecs.nibbles import pack, unpack


@dataclass(frozen=True, slots=True)
class IntegerCodec:
    """Quantises what is left after per-channel centre and spread.

    With ``z = (x - centre) / spread``, ``scale = max |z| / levels`` over the channels of a group, stored
    as `IntegerFormat` says, and ``code = round(z / scale)`` with the scale as stored: nothing is ever
    clipped. Where a scale is too large for its dtype, the whole group decodes to NaN or infinity.
    """

    calibration: Calibration
    name: IntegerName

    @property
    def format(self) -> IntegerFormat:
        """Levels, groups and packing."""
        return INTEGER_FORMATS[self.name]

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """Quantise, with the scales as they are stored."""
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
        """``code * scale * spread + centre``."""
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
