"""The work, the space and the time that an extraction needs, and whether it pays, before the first image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from losa.cache_format import LosaError, Segment
from losa.cache_format.common.units import counted, duration, readable
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.storage.free_space import free_disk_bytes
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.survey import Survey
from losa.extract.break_even import BreakEven
from losa.extract.probe import Speeds
from losa.extract.stages import Stage

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
    calibration_images: int = 0
    """Number of images that the codec is calibrated on first."""
    speeds: Speeds | None = None
    """What a trial of this machine found; None if there was none."""

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

    @property
    def seconds(self) -> float | None:
        """Expected duration of the extraction; None without a trial."""
        if self.speeds is None or not self.images:
            return None
        per_image = 1 / self.speeds.images_per_s
        calibrating = self.calibration_images * per_image
        if self.speeds.write_bytes_per_s is not None:
            per_image = max(per_image, self.image_bytes / self.speeds.write_bytes_per_s)
        starts = 2 if self.calibration_images else 1
        return starts * self.speeds.start_seconds + calibrating + self.images * per_image

    @property
    def break_even(self) -> BreakEven | None:
        """When the cache pays; None without a trial of the backbone and of the disk."""
        if self.speeds is None or self.speeds.read_bytes_per_s is None:
            return None
        return BreakEven(
            image_bytes=self.image_bytes,
            images_per_s=self.speeds.images_per_s,
            read_bytes_per_s=self.speeds.read_bytes_per_s,
        )

    def __str__(self) -> str:
        done = ""
        if self.finished_shards:
            done = f" ({counted(self.finished_shards, 'shard is', 'shards are')} finished)"
        free = "" if self.free_bytes is None else f", {readable(self.free_bytes)} free"
        rows = {
            "images": f"{self.images:,} to extract in {counted(self.shards, 'shard', 'shards')}{done}",
            "sites": f"{len(self.sites)}, {self.image_bytes:,} bytes an image",
            "bytes": f"{readable(self.bytes)}{free} at {self.cache}",
        }
        if self.speeds is not None and self.seconds is not None:
            rows["time"] = (
                f"about {duration(self.seconds)}: {_rate(self.speeds.images_per_s)} images/s, limited by "
                f"{_LIMITS[self.speeds.bottleneck]}"
            )
        if self.break_even is not None:
            rows["break-even"] = _advice(self.break_even)
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {text}" for name, text in rows.items())

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values; bytes, seconds and speeds in bytes or images per second."""
        speeds, pays = self.speeds, self.break_even
        passes = None if pays is None else pays.passes()
        return {
            "cache": str(self.cache),
            "images": self.images,
            "shards": self.shards,
            "finished_shards": self.finished_shards,
            "sites": list(self.sites),
            "bytes_per_image": self.image_bytes,
            "bytes": self.bytes,
            "free_bytes": self.free_bytes,
            "seconds": self.seconds,
            "images_per_s": speeds and speeds.images_per_s,
            "bottleneck": speeds and speeds.bottleneck,
            "write_bytes_per_s": speeds and speeds.write_bytes_per_s,
            "read_bytes_per_s": speeds and speeds.read_bytes_per_s,
            "break_even": pays
            and {
                "read_bytes_per_s": pays.read_bytes_per_s_needed,
                "members": pays.members,
                "passes": None if passes == math.inf else passes,
            },
        }

    @property
    def fits(self) -> bool:
        """Whether there is room for the shards, as far as is known."""
        return self.free_bytes is None or self.bytes * HEADROOM <= self.free_bytes

    def refuse_if_too_large(self) -> None:
        """Refuse a cache that does not fit.

        Raises:
            LosaError: the cache does not fit; the message says how to make it smaller.
        """
        if not self.fits:
            raise LosaError(
                f"{self.cache}: the cache needs another {readable(self.bytes)}, but only "
                f"{readable(self.free_bytes or 0)} are free. Free some space, or use fewer sites (sites=4), "
                "a smaller codec (codec=int8), fewer splits or limit=<images per split>"
            )


_LIMITS: dict[Stage, str] = {"decoding": "decoding", "backbone": "the backbone", "disk": "the disk"}


def _advice(pays: BreakEven) -> str:
    """What a user should know before the cache is made: whether to make it."""
    here = (
        f"faster than the backbone if read at {readable(pays.read_bytes_per_s_needed)}/s or more; this disk "
        f"reads {readable(pays.read_bytes_per_s)}/s, so "
    )
    if pays.members == 1:
        return f"{here}it has paid for itself after {pays.passes():,} passes"
    return (
        f"{here}it pays only if {pays.members} or more side networks share each pass, or if it stays in "
        "memory. Fewer sites (sites=4) or codec=int8 are read faster"
    )


def _rate(per_second: float) -> str:
    """A number of images per second, with a decimal only where it matters."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
