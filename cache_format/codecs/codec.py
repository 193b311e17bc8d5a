"""What a codec is: the contract that every one of them keeps."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Shaped

CodecName = Literal["float32", "float16", "bfloat16", "int8", "int4"]


@dataclass(frozen=True, slots=True)
class Codes:
    """Activations as stored, in the dtypes and shapes of `code_layout`."""

    values: Shaped[np.ndarray, "images sites tokens stored"]
    """One number for every channel, or for two of them (int4)."""
    scales: Float[np.ndarray, "images sites tokens groups"] | None = None
    """One for every group of channels of a token; None if the codec has none."""


@runtime_checkable  # so that beartype can check it while the tests run
class Codec(Protocol):
    """Encodes float32 activations. Encoding is a pure function of each token: no history, no lookahead."""

    @property
    def name(self) -> CodecName:
        """The codec's name in manifest and configuration."""

    def encode(self, activations: Float[np.ndarray, "images sites tokens width"]) -> Codes:
        """float32 to codes."""

    def decode(self, codes: Codes) -> Float32[np.ndarray, "images sites tokens width"]:
        """Codes to float32; what the codec cannot hold comes back as NaN or infinity."""
