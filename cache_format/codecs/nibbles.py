"""Two codes from -7 to 7 in one byte.

A code is stored as an unsigned nibble, 8 greater than it is: zero is 8, and 0 never occurs. The low
nibble has the even channel, the high nibble the odd one after it. Where the width is odd, the last high
nibble is 8.
"""

import numpy as np
from jaxtyping import Int8, UInt8

ZERO = 8
"""The nibble of code 0."""


def pack(codes: Int8[np.ndarray, "images sites tokens width"]) -> UInt8[np.ndarray, "images sites tokens _"]:
    """Codes to bytes.

    >>> pack(np.array([[[[-7, 0, 7]]]], np.int8))
    array([[[[129, 143]]]], dtype=uint8)
    """
    odd = codes.shape[-1] % 2
    nibbles = (np.pad(codes, [(0, 0), (0, 0), (0, 0), (0, odd)]) + np.int8(ZERO)).view(np.uint8)
    return nibbles[..., 0::2] | nibbles[..., 1::2] << np.uint8(4)


def unpack(
    packed: UInt8[np.ndarray, "images sites tokens _"], width: int
) -> Int8[np.ndarray, "images sites tokens {width}"]:
    """Bytes to the codes of ``width`` channels.

    >>> unpack(np.array([[[[129, 143]]]], np.uint8), 3)
    array([[[[-7,  0,  7]]]], dtype=int8)
    """
    nibbles = np.stack([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1).view(np.int8)
    return nibbles.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :width] - np.int8(ZERO)
