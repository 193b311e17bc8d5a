"""A part of an extraction, for machines that know nothing of each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from losa.cache_format import Segment


@dataclass(frozen=True, slots=True)
class Part:
    """One of several parts of nearly as many shards each."""

    number: int
    """From 1."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The part that an option names.

        >>> Part.parse("3/16")
        Part(number=3, count=16)

        Raises:
            ValueError: there is no such part.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(
                f"part={text}: expected the number of a part and how many there are, such as 3/16"
            )
        return cls(int(match[1]), int(match[2]))

    def shards(self, segments: Sequence[Segment]) -> list[tuple[str, int]]:
        """The shards of this part: neighbours, which do not depend on what is stored already.

        Args:
            segments: the segments of the whole extraction.

        Returns:
            For each shard the name of its segment and its number.
        """
        every = [(segment.name, shard) for segment in segments for shard in range(segment.shards)]
        start, stop = (len(every) * number // self.count for number in (self.number - 1, self.number))
        return every[start:stop]
