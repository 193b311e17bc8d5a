"""When a cache is faster than to run the backbone again."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """What decides whether a cache pays: bytes of an image, and the speeds of the backbone and of reading."""

    image_bytes: int
    images_per_s: float
    """Images per second through decoding and backbone."""
    read_bytes_per_s: float

    @property
    def read_bytes_per_s_needed(self) -> float:
        """Speed of reading above which a pass over the cache is faster than one through the backbone."""
        return self.image_bytes * self.images_per_s

    @property
    def members(self) -> int:
        """Number of members that must share a pass, so that it costs less than to run the backbone for each.

        It is 1 where reading is faster than the backbone.
        """
        return max(1, math.ceil(self.read_bytes_per_s_needed / self.read_bytes_per_s))

    def passes(self, members: int = 1) -> float:
        """Number of passes over the cache after which its extraction has paid for itself; infinite: never.

        Args:
            members: members that share each pass, for each of which the backbone would run otherwise.
        """
        gained = members * self.read_bytes_per_s - self.read_bytes_per_s_needed
        return math.ceil(self.read_bytes_per_s / gained) if gained > 0 else math.inf
