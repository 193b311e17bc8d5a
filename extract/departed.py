"""Images that have left the data set, although a segment of the cache has a row for each of them.

The rows of a segment are fixed when it is begun. A row whose image has left before its shard was extracted is
recorded as invalid; no split refers to it any more.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from losa.cache_format.clips import source_key
from losa.cache_format.shards.shard_images import ShardImages
from losa.extract.encoded_batches import EncodedBatch
from losa.extract.sources import ImageSource

DEPARTED = "no longer in the data set"


@dataclass
class DataSetKeys:
    """The keys that a data set has now, by which departed images are known."""

    source: ImageSource
    requested: Set[str] = field(repr=False)
    """Keys of the requested splits, views among them."""

    def departed(self, key: str) -> bool:
        """Whether an image, or what a view or a clip was made of, is in no split of the data set."""
        return key not in self.requested and source_key(key) not in self._all

    @cached_property
    def _all(self) -> Set[str]:
        """Keys of all splits, which are listed only where those of the requested ones are not enough."""
        keys: set[str] = set()
        for split in self.source.splits:
            keys.update(self.source.contents(split).keys)
        return keys

    def tries_again(self, keys: Sequence[str], images: ShardImages, *, all_invalid: bool) -> bool:
        """Whether a shard is extracted again for its invalid images.

        Args:
            keys: keys of the rows of the shard.
            images: what became of its images.
            all_invalid: whether every invalid image of the data set is tried again, or only those that had
                departed when the shard was extracted and are back.
        """
        return any(
            not self.departed(keys[int(row)]) and (all_invalid or reason.endswith(DEPARTED))
            for row, reason in images.invalid.items()
        )


def with_departed(batch: EncodedBatch) -> EncodedBatch:
    """The batch with an outcome for every row, where those of departed images are reasons."""
    present = frozenset(batch.rows.present)
    of_present = iter(batch.outcomes)
    outcomes = [next(of_present) if key in present else f"{key}: {DEPARTED}" for key in batch.rows.keys]
    return batch._replace(outcomes=outcomes)
