"""The commit records of a cache, read in one pass for all who need them."""

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Segment
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_images import ShardImages
from losa.cache_format.shards.statistics import SiteStatistics

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommitRecords:
    """The state of every shard of some segments at the time when their commit records were read."""

    segments: tuple[Segment, ...]
    """In the order of the manifest."""
    images: Mapping[str, Sequence[ShardImages | CorruptCache | None]]
    """Segment name -> for each of its shards what became of its images, the error if the shard is damaged, or
    None if it is not committed."""
    statistics: Mapping[str, Mapping[int, Sequence[SiteStatistics]]]
    """Segment name -> number of each undamaged shard -> its statistics."""

    @classmethod
    def read(cls, metadata: CacheMetadata, segments: Container[str] | None = None) -> "CommitRecords":
        """Read the records of a cache, which need not exist yet.

        Args:
            metadata: of the cache.
            segments: names of the segments to read; all segments if None.
        """
        chosen = tuple(
            segment for segment in metadata.manifest.segments if segments is None or segment.name in segments
        )
        images: dict[str, list[ShardImages | CorruptCache | None]] = {}
        statistics: dict[str, dict[int, Sequence[SiteStatistics]]] = {}
        for segment in chosen:
            of_shards = images[segment.name] = []
            measured = statistics[segment.name] = {}
            for found in SegmentFiles.of(metadata, segment).commits(range(segment.shards)):
                if isinstance(found, Commit):
                    measured[found.shard] = found.statistics
                    # Not the whole record: those of a million images would take hundreds of megabytes.
                    of_shards.append(found.images)
                else:
                    of_shards.append(found)
        return cls(chosen, images, statistics)

    def committed(self, segment: Segment) -> list[ShardImages]:
        """The undamaged shards of a segment, in order."""
        return [images for images in self.images[segment.name] if isinstance(images, ShardImages)]

    def missing(
        self,
        segments: Container[str] | None = None,
        *,
        remake: Callable[[Segment, ShardImages], bool] = lambda _segment, _images: False,
    ) -> list[tuple[Segment, int]]:
        """Shards that are not committed, in order. A damaged shard is logged and counts as missing.

        Args:
            segments: names of the segments to look at; all that were read if None.
            remake: whether a shard that holds invalid images counts as missing too.
        """
        missing = []
        for segment in self.segments:
            if segments is not None and segment.name not in segments:
                continue
            for shard, images in enumerate(self.images[segment.name]):
                if isinstance(images, CorruptCache):
                    _log.warning("%s. This shard is made again.", images)
                if not isinstance(images, ShardImages) or (images.invalid and remake(segment, images)):
                    missing.append((segment, shard))
        return missing
