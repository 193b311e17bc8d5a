"""What became of the images of a finished shard."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

SOURCE_HASH_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardImages:
    """A commit record without the places and checksums of codes, which take most of its memory."""

    shard: int
    sources: bytes
    """blake2b-128 of the file of every row's image, one after another; zeros for an invalid row."""
    invalid: Mapping[str, str]
    """Invalid row in the shard -> why its image could not be decoded."""

    def valid(self, row: int) -> bool:
        """Whether the image of a row could be decoded. Rows are counted from the start of the shard."""
        return str(row) not in self.invalid

    def source_hash(self, row: int) -> bytes:
        """blake2b-128 of the bytes of the image in a row; zeros for an invalid row."""
        return self.sources[row * SOURCE_HASH_BYTES : (row + 1) * SOURCE_HASH_BYTES]

    @property
    def source_hashes(self) -> Shaped[np.ndarray, "rows"]:
        """The source hashes of all rows as an array of ``S16``."""
        return np.frombuffer(self.sources, f"S{SOURCE_HASH_BYTES}")

    def outcome(self, row: int) -> bytes | str:
        """The source hash of a valid row, or why the image of an invalid row could not be decoded."""
        return self.source_hash(row) if self.valid(row) else self.invalid[str(row)]
