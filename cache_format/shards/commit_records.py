"""The commit records of a cache, read in one pass for all who need them."""

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from losa.cache_format.errors import CorruptCache
from losa.cache_format.manifest import Segment
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.shards.commit import Commit
from losa.cache_format.shards.segment_files import SegmentFiles

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommitRecords:
    """The state of every shard of some segments at the time when their commit records were read."""

    segments: tuple[Segment, ...]
    """In the order of the manifest."""
    records: Mapping[str, Sequence[Commit | CorruptCache | None]]
    """Segment name -> for each of its shards the record, the error if the shard is damaged, or None if it is
    not committed."""

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
        return cls(
            chosen,
            {
                segment.name: tuple(SegmentFiles.of(metadata, segment).commits(range(segment.shards)))
                for segment in chosen
            },
        )

    def committed(self, segment: Segment) -> list[Commit]:
        """Records of the undamaged shards of a segment, in order."""
        return [record for record in self.records[segment.name] if isinstance(record, Commit)]

    def missing(
        self,
        segments: Container[str] | None = None,
        *,
        remake: Callable[[Segment, Commit], bool] = lambda _segment, _commit: False,
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
            for shard, record in enumerate(self.records[segment.name]):
                if isinstance(record, CorruptCache):
                    _log.warning("%s. This shard is made again.", record)
                if not isinstance(record, Commit) or (record.invalid and remake(segment, record)):
                    missing.append((segment, shard))
        return missing
