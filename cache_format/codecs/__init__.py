"""How activations become stored numbers and back: the numpy reference.

``losa.cache_format.device_codecs`` does the same on a torch device; a test holds the two equal.
Shape suffixes in this package: N images, S sites, T tokens, D width, G groups of channels.
"""

from losa.cache_format.codecs.calibration import Calibration, calibrate
from losa.cache_format.codecs.codec import Codec, Codes
from losa.cache_format.codecs.layout import CodeLayout, StorageDtype, code_layout
from losa.cache_format.codecs.make import make_codec, needs_calibration
from losa.cache_format.codecs.refusal import refuse_non_finite
from losa.cache_format.identity import CodecName

__all__ = [
    "Calibration",
    "CodeLayout",
    "Codec",
    "Codes",
    "StorageDtype",
    "calibrate",
    "code_layout",
    "make_codec",
    "needs_calibration",
    "refuse_non_finite",
]


# Until segment_files asks code_layout.
def storage_dtype(name: CodecName) -> StorageDtype:
    """Dtype in which a codec's values stand on disk."""
    return code_layout(name, 1).dtype


def has_scales(name: CodecName) -> bool:
    """Whether a codec stores scales beside its values."""
    return code_layout(name, 1).scale_dtype is not None
