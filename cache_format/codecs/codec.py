"""The interface of all codecs."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Shaped

CodecName = Literal["float32", "float16", "bfloat16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class Codes:
    """Encoded activations, in the dtypes and shapes of `code_layout`.

    Values are float32, float16, uint16 (bfloat16), int8 or, with two channels in each, uint8 (int4). Scales
    are float32 (int8, one for each token) or float16 (int4, one for each 32 channels).
    """

    values: Shaped[np.ndarray, "images sites tokens stored"]
    """One number for every channel, or for every two channels (int4)."""
    scales: Float[np.ndarray, "images sites tokens groups"] | None = None
    """One scale for every group of channels of a token; None if the codec has no scales."""

    @property
    def nbytes(self) -> int:
        """Bytes of the values and scales."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)


@runtime_checkable  # so that beartype can check it while the tests run
class Codec(Protocol):
    """Encodes float32 activations. The codes of a token depend on this token only. `make_codec` makes one."""

    @property
    def name(self) -> CodecName:
        """Name of the codec in the manifest and in configurations."""

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """Encode float32 activations.

        Args:
            activations: those of all sites of the codec's calibration, in its order, if it has one. NaN and
                infinity do not become finite when they are decoded.
        """

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Decode to float32. Values out of the codec's range are decoded as NaN or infinity.

        Args:
            codes: codes that this codec has made, of the same sites.
        """
