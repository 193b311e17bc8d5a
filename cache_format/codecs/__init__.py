"""Codecs between activations and stored numbers: the numpy reference.

``losa.cache_format.codecs.torch_codecs`` has the same codecs on a torch device; tests compare the two.
Shape suffixes in this package: N images, S sites, T tokens, D width, G groups of channels.
"""

from typing import get_args

from losa.cache_format.codecs.calibration import Calibration, calibrate
from losa.cache_format.codecs.cast import Bfloat16Codec, CastCodec
from losa.cache_format.codecs.codec import Codec, CodecName, Codes
from losa.cache_format.codecs.integer import INTEGER_FORMATS, IntegerCodec
from losa.cache_format.codecs.layout import CodeLayout, StorageDtype, code_layout
from losa.cache_format.errors import LosaError

__all__ = [
    "Calibration",
    "CodeLayout",
    "Codec",
    "CodecName",
    "Codes",
    "StorageDtype",
    "calibrate",
    "code_layout",
    "make_codec",
    "needs_calibration",
]


def make_codec(name: CodecName, calibration: Calibration | None = None) -> Codec:
    """The codec with the given name.

    Args:
        name: ``float32``, ``float16``, ``bfloat16``, ``int8`` or ``int4``.
        calibration: centre and spread of the sites to encode or decode, for ``int8`` and ``int4``, which need
            them; other codecs ignore them.

    Raises:
        LosaError: there is no such codec, or it lacks its calibration.
    """
    if name not in get_args(CodecName):
        raise LosaError(f"there is no codec {name!r}; there are: {', '.join(get_args(CodecName))}")
    if name == "int8" or name == "int4":
        if calibration is None:
            raise LosaError(
                f"codec {name} needs a calibration: calibrate makes one of a sample of activations, and "
                "Cache.calibration is that of a cache"
            )
        return IntegerCodec(calibration, name)
    return Bfloat16Codec() if name == "bfloat16" else CastCodec(name)


def needs_calibration(name: CodecName) -> bool:
    """Whether a codec has to be calibrated on a sample before the first shard."""
    return name in INTEGER_FORMATS
