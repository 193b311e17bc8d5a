"""How activations become stored numbers and back: the numpy reference.

``losa.cache_format.device_codecs`` does the same on a torch device; a test holds the two equal.
Shape suffixes in this package: N images, S sites, T tokens, D width, G groups of channels.
"""

from losa.cache_format.codecs.calibration import Calibration, calibrate
from losa.cache_format.codecs.codec import Codec, Codes
from losa.cache_format.codecs.layout import CodeLayout, StorageDtype, code_layout
from losa.cache_format.codecs.make import make_codec, needs_calibration
from losa.cache_format.codecs.refusal import refuse_non_finite

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
