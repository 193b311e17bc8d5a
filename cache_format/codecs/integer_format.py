"""What int8 and int4 differ in: levels, groups of channels, the dtype of scales, packing."""

from dataclasses import dataclass
from typing import Literal

IntegerName = Literal["int8", "int4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerFormat:
    """Codec version 1 of an integer codec. Nothing here can be configured: it is part of the format."""

    levels: int
    """Codes run from minus this to this: symmetric, so that negation is exact."""
    group: int | None
    """Channels that share a scale, the last ones of a token perhaps fewer; None: all of a token."""
    scale_dtype: Literal["float32", "float16"]
    scale_floor: float
    """Least scale, a normal number of its dtype: a group that equals the centre would have none."""
    packed: bool
    """Two codes in a byte (see `losa.cache_format.codecs.nibbles`) instead of one."""

    @property
    def dtype(self) -> Literal["int8", "uint8"]:
        """Dtype of the stored values."""
        return "uint8" if self.packed else "int8"

    def stored_width(self, width: int) -> int:
        """Stored values of a token."""
        return -(-width // 2) if self.packed else width

    def group_size(self, width: int) -> int:
        """Channels of a group, but for the last."""
        return self.group or width

    def groups(self, width: int) -> int:
        """Scales of a token."""
        return -(-width // self.group_size(width))


INTEGER_FORMATS: dict[IntegerName, IntegerFormat] = {
    "int8": IntegerFormat(levels=127, group=None, scale_dtype="float32", scale_floor=1e-30, packed=False),
    "int4": IntegerFormat(levels=7, group=32, scale_dtype="float16", scale_floor=2.0**-14, packed=True),
}
