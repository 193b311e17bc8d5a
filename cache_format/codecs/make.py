"""From a codec's name to the codec."""

from losa.cache_format.codecs.calibration import Calibration
from losa.cache_format.codecs.cast import Bfloat16Codec, CastCodec
from losa.cache_format.codecs.codec import Codec
from losa.cache_format.codecs.integer import IntegerCodec
from losa.cache_format.codecs.integer_format import INTEGER_FORMATS
from losa.cache_format.identity import CodecName


def make_codec(name: CodecName, calibration: Calibration | None = None) -> Codec:
    """The codec of a name; ``int8`` and ``int4`` need a calibration."""
    if name == "int8" or name == "int4":
        assert calibration is not None, f"codec {name} needs a calibration"
        return IntegerCodec(calibration, name)
    return Bfloat16Codec() if name == "bfloat16" else CastCodec(name)


def needs_calibration(name: CodecName) -> bool:
    """Whether a codec is calibrated on a sample before the first shard."""
    return name in INTEGER_FORMATS
