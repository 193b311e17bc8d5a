"""Dtypes and shapes of the codes of each codec."""

from dataclasses import dataclass
from typing import Literal

from losa.cache_format.codecs.codec import CodecName
from losa.cache_format.codecs.integer import INTEGER_FORMATS

StorageDtype = Literal["float32", "float16", "uint16", "int8", "uint8"]


@dataclass(frozen=True, slots=True)
class CodeLayout:
    """Dtypes and sizes of the codes and scales of one token, in memory and on disk."""

    dtype: StorageDtype
    """Dtype of the stored values: uint16 for bfloat16, uint8 for packed int4."""
    width: int
    """Stored values per token; int4 stores two channels in each."""
    scale_dtype: Literal["float32", "float16"] | None
    """None if the codec has no scales."""
    groups: int
    """Scales per token; 0 if there are none."""


def code_layout(codec: CodecName, width: int) -> CodeLayout:
    """The layout of the codes of tokens of ``width`` channels.

    >>> code_layout("int4", 192)
    CodeLayout(dtype='uint8', width=96, scale_dtype='float16', groups=6)
    """
    if codec == "int8" or codec == "int4":
        form = INTEGER_FORMATS[codec]
        return CodeLayout(form.dtype, form.stored_width(width), form.scale_dtype, form.groups(width))
    return CodeLayout("uint16" if codec == "bfloat16" else codec, width, None, 0)
