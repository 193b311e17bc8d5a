"""The calibration of a cache's codec: read from the cache, or made from a sample of the images."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from losa.cache_format import Calibration, CorruptCache, Manifest, SplitContents
from losa.cache_format.codecs import needs_calibration
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.engines import Engine, LocalEngine
from losa.cache_format.identity import SiteGroup
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.constants import (
    CENTRE,
    SPREAD,
    calibration_constants,
    orphaned_calibration,
    read_constant,
)
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.stores import make_store
from losa.cache_format.survey import Survey, has_shards, orphaned_records
from losa.extract.calibration import SAMPLE_IMAGES, sample_keys
from losa.extract.config import ExtractConfig
from losa.extract.extraction_tasks import CalibrationTask
from losa.extract.forward_pass import ForwardPass

_log = logging.getLogger(__name__)

Constants = Mapping[str, np.ndarray]
"""Arrays that are stored in the cache, by name. Those of a calibration are its centre and spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """Reads or makes the calibration of one cache. For a codec that needs none, all results are empty."""

    config: ExtractConfig
    cache: CachePath
    group: SiteGroup
    splits: Sequence[SplitContents]
    """The requested splits; their images are sampled."""
    forward: ForwardPass
    engine: Engine = field(default_factory=LocalEngine)
    """One of its workers calibrates."""

    @property
    def sample_size(self) -> int:
        """Number of images on which a calibration is made."""
        if not needs_calibration(self.config.codec):
            return 0
        return len(sample_keys(key for split in self.splits for key in split.keys))

    def stored(self) -> Constants:
        """The calibration in the cache; empty if the cache has no shard yet. A damaged one is made again.

        Raises:
            CorruptCache: the calibration is damaged and cannot be made again.
        """
        if not needs_calibration(self.config.codec):
            return {}
        refuse_unreachable(self.cache)
        if has_shards(self.cache):
            metadata = CacheMetadata.read(self.cache)
            manifest = metadata.manifest
            if CENTRE not in manifest.features.constants:
                return {}  # a cache of another codec, which the survey refuses
            try:
                return {name: read_constant(metadata, name) for name in (CENTRE, SPREAD)}
            except CorruptCache as error:
                return self._make_again(manifest, error)
        if orphaned_records(self.cache, self.config.store):
            store = make_store(self.config.store)
            return orphaned_calibration(self.cache, store, self.group) or self._make(self.splits)
        return {}

    def missing(self, constants: Constants) -> Constants:
        """The calibration, made from a sample of the requested splits; empty if ``constants`` has it."""
        if CENTRE in constants or not needs_calibration(self.config.codec):
            return {}
        return self._make(self.splits)

    def warn_of_few(self, surveyed: Survey) -> None:
        """Warn where a cache grows that was calibrated on few images, as with ``limit=10``."""
        if surveyed.published is None or not needs_calibration(self.config.codec):
            return
        before = sum(segment.images for segment in surveyed.published.segments)
        if before < SAMPLE_IMAGES and surveyed.placement.segments:
            _log.warning(
                "%s stays calibrated on the %d images of its first extraction: compare the signal-to-noise "
                "ratio of losa-cache info with that of other caches, or begin a new one with cache=...",
                self.cache,
                before,
            )

    def _make_again(self, manifest: Manifest, damage: CorruptCache) -> Constants:
        """The calibration whose hash is in the manifest, from the splits that were extracted first."""
        requested = {split.name: split for split in self.splits}
        first: list[SplitContents] = []
        for record in manifest.splits:
            if record.name not in requested:
                break
            first.append(requested[record.name])
            _log.warning("%s. Calibrating again on the sample of %s.", damage, first[-1].name)
            found = self._make(first)
            if all(hash_array(found[name]) == manifest.features.constants[name] for name in found):
                return found
        raise CorruptCache(
            f"{damage}\nThe calibration could not be made again from the splits "
            f"{', '.join(requested)} on this machine. Request all splits of the cache, in the order in which "
            "they were extracted, or take the file from a copy of the cache"
        ) from damage

    def _make(self, splits: Sequence[SplitContents]) -> Constants:
        sample = sample_keys(key for split in splits for key in split.keys)
        task = CalibrationTask(self.forward, self.config.threads, self.config.images_per_batch)
        found: list[Calibration] = []
        self.engine.map(task, [sample], lambda _, calibration: found.append(calibration))
        return calibration_constants(found[-1])
