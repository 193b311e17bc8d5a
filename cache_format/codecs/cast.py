"""Codecs that only round: float32, float16 and bfloat16."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from losa.cache_format.codecs.codec import Codes


@dataclass(frozen=True, slots=True)
class CastCodec:
    """float32 and float16, stored in numpy's dtype of that name."""

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
        """Round to the upper 16 bits of a float32."""
        bits = np.ascontiguousarray(activations, np.float32).view(np.uint32)
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        # Rounding must not turn a NaN with a small payload into infinity.
        return Codes(np.where(np.isnan(activations), 0x7FC0, rounded).astype(np.uint16))

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Widen to float32, with zeros below the stored bits."""
        bits = codes.values.astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
