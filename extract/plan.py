"""The work and the space that an extraction needs, known before the first image."""

from collections.abc import Sequence
from dataclasses import dataclass

from losa.cache_format import LosaError, Segment
from losa.cache_format.common.units import readable
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.free_space import free_disk_bytes
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.survey import Survey

HEADROOM = 1.01
"""Required free space relative to the bytes of the shards; the rest is for records and metadata files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The remaining work, in images, shards and bytes."""

    cache: CachePath
    sites: tuple[str, ...]
    image_bytes: int
    images: int
    shards: int
    bytes: int
    finished_shards: int
    is_finished: bool
    """Whether nothing is left to do, not even to add a split whose images are all extracted."""
    free_bytes: int | None
    """Free bytes where the cache is; None where this is unknown, as in a bucket."""

    @classmethod
    def of(
        cls, surveyed: Survey, missing: Sequence[tuple[Segment, int]], shards: int | None = None
    ) -> "Plan":
        """Plan the extraction of the missing shards.

        Args:
            surveyed: the cache, which need not exist yet.
            missing: segment and number of every shard to extract.
            shards: number of shards that are wanted, finished or not; None for all of them.
        """
        metadata = surveyed.metadata
        files = {
            segment.name: SegmentFiles.of(metadata, segment)
            for segment in metadata.manifest.segments
            if segment.name in surveyed.segments
        }
        example = next(iter(files.values()))
        return cls(
            cache=metadata.path,
            sites=metadata.manifest.features.group.sites,
            image_bytes=example.geometry.stored_image_bytes,
            images=sum(len(segment.rows(shard)) for segment, shard in missing),
            shards=len(missing),
            bytes=sum(
                files[segment.name].store.shard_bytes(files[segment.name].geometry, shard)
                for segment, shard in missing
            ),
            finished_shards=(sum(one.segment.shards for one in files.values()) if shards is None else shards)
            - len(missing),
            is_finished=surveyed.is_written and not missing,
            free_bytes=free_disk_bytes(metadata.path),
        )

    def __str__(self) -> str:
        done = f" ({self.finished_shards} shards are finished)" if self.finished_shards else ""
        free = "" if self.free_bytes is None else f", {readable(self.free_bytes)} free"
        return (
            f"{self.images:,} images to extract in {self.shards} shards{done}\n"
            f"{len(self.sites)} sites, {self.image_bytes:,} bytes an image, {readable(self.bytes)} in all"
            f"{free} at {self.cache}"
        )

    def refuse_if_too_large(self) -> None:
        """Refuse a cache that does not fit.

        Raises:
            LosaError: the cache does not fit; the message says how to make it smaller.
        """
        if self.free_bytes is not None and self.bytes * HEADROOM > self.free_bytes:
            raise LosaError(
                f"{self.cache}: the cache needs another {readable(self.bytes)}, but only "
                f"{readable(self.free_bytes)} are free. Free some space, or use fewer sites (sites=4), a "
                "smaller codec (codec=int8), fewer splits or limit=<images per split>"
            )
