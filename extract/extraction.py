"""The first stage: images through a frozen backbone into a cache."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import numpy as np

from losa.cache_format import (
    CacheWriter,
    Calibration,
    LosaError,
    Manifest,
    Segment,
)
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.engines import Engine, LocalEngine, make_engine
from losa.cache_format.identity import FeatureIdentity, Preprocessing, SiteGroup
from losa.cache_format.metadata.constants import CENTRE, calibration_of
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.shards.shard_images import ShardImages
from losa.cache_format.storage.paths import CachePath, cache_folder
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.survey import CacheRequest, Survey, has_shards, survey_cache
from losa.extract.backbone import FrozenBackbone
from losa.extract.calibrator import Calibrator
from losa.extract.changed_images import refuse_changed_images
from losa.extract.codec_loss import tell_codec_loss
from losa.extract.config import ExtractConfig
from losa.extract.data_set_root import refuse_other_root, root_record
from losa.extract.departed import DataSetKeys
from losa.extract.encoded_batches import ShardBatch, shard_batches
from losa.extract.extraction_tasks import EncodingTask, MachineTask, computing_threads
from losa.extract.forward_pass import MOST_WORKERS, ForwardPass
from losa.extract.grid_pooling import parse_grid
from losa.extract.loading import load_backbone
from losa.extract.parts import Part
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.plan import Plan
from losa.extract.preprocessing import choose_preprocessing
from losa.extract.probe import WORTH_BATCHES, Speeds, try_out
from losa.extract.reception import Reception
from losa.extract.requested_splits import requested_splits
from losa.extract.shard_thread import ShardThread
from losa.extract.sources import ImageSource, open_source
from losa.extract.views import refuse_other_views

_log = logging.getLogger(__name__)

_RUNS_PER_WORKER = 8
"""In how many runs a worker does its share. At the end of a run it has nothing decoded ahead; at the end of
the extraction, workers wait for the last run of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The result of a run of the first stage."""

    cache: CachePath
    """Folder of the cache."""
    images: int
    """Number of images that this run extracted; 0 after plan=true."""
    invalid: int
    """Number of them that are invalid (on_error=skip)."""
    seconds: float
    """Duration of the run."""
    finished: bool
    """Whether all that was asked for is in the cache (with part=..., that part); False after plan=true."""
    plan: Plan
    """What was known before the first image."""


class Extractor:
    """One extraction: its options, source, backbone and calibrator."""

    def __init__(
        self, config: ExtractConfig, source: ImageSource | None = None, engine: Engine | None = None
    ) -> None:
        """Open the source, unless it is given, and load the backbone.

        Args:
            config: the options.
            source: the images, if not those that the options describe.
            engine: runs the backbone, entered by the caller; None: this process does.

        Raises:
            LosaError: an option is wrong, or the source or the weights it names cannot be opened.
        """
        self.config = config
        self.cache = cache_folder(config.cache)
        self.engine: Engine = engine or LocalEngine()
        self.device = self.engine.resolve_device(config.device)
        self.part = None if config.part is None else Part.parse(config.part)
        self.source: ImageSource = open_source(config.dataset) if source is None else source
        for note in self.source.notes:
            _log.warning("%s", note)
        self.splits = requested_splits(config, self.source)
        self.known = DataSetKeys(self.source, {key for split in self.splits for key in split.keys})
        self.backbone: FrozenBackbone = load_backbone(
            config.backbone,
            None if config.grid is None else parse_grid(config.grid),
            1 if config.sampling is None else config.sampling.frames,
        )
        self.group: SiteGroup = self.backbone.group(config.sites)
        self.preprocessing = self._rules_of_the_cache(
            choose_preprocessing(self.backbone.preprocessing, config)
        )
        self.forward = ForwardPass(
            config if self.engine.in_process else _for_workers(config, self.engine),
            self.source,
            self.backbone,
            self.preprocessing,
            self.group.sites,
            self.device,
            elsewhere=not self.engine.in_process,
        )
        self.calibrator = Calibrator(
            config=config,
            cache=self.cache,
            group=self.group,
            splits=self.splits,
            forward=self.forward,
            engine=self.engine,
        )

    def run(self) -> Extraction:
        """Extract the shards that are missing from the cache.

        All refusals come before the cache is created or changed.
        """
        start = time.perf_counter()
        constants = self._stored_constants()
        plan = self._plan(self._request(constants), constants)
        _log.info("%s", plan)
        plan.refuse_if_too_large()
        invalid = 0
        # A finished cache is not locked: it may be on a medium that cannot be written to.
        if not (self.config.plan or plan.is_finished):
            constants |= self.calibrator.missing(constants)
            with CacheWriter(self.cache, self._request(constants), constants) as writer:
                # Not the plan's shards: another process may have written some before the lock was taken.
                uncommitted = writer.missing(
                    remake=partial(self._remake, partial(read_keys, writer.metadata))
                )
                missing = self._of_part(uncommitted, writer.requested)
                if missing:
                    invalid = self._extract(writer, missing, calibration_of(constants))
                    tell_codec_loss(writer, self.config.codec, self.group.sites)
        return Extraction(
            cache=self.cache,
            images=0 if self.config.plan else plan.images,
            invalid=invalid,
            seconds=time.perf_counter() - start,
            finished=not self.config.plan,
            plan=plan,
        )

    def plan(self) -> Plan:
        """What `run` has to do, and how long it takes; nothing is written.

        Raises:
            LosaError: the cache is another one, or is damaged.
        """
        constants = self._stored_constants()
        return self._plan(self._request(constants), constants)

    def _stored_constants(self) -> dict[str, np.ndarray]:
        """The constants that are known before the calibration; an impossible request is refused first."""
        refuse_other_views(self.cache, self.splits)
        return {**self.backbone.final_norm_constants, **self.calibrator.stored()}

    def _rules_of_the_cache(self, chosen: Preprocessing) -> Preprocessing:
        """The chosen preprocessing; for a cache from before there were rules for pixels, without them."""
        refuse_unreachable(self.cache)
        if chosen.decoding != DEFAULT_DECODING or not has_shards(self.cache):
            return chosen
        if Manifest.read(self.cache).features.preprocessing.decoding is not None:
            return chosen
        _log.warning(
            "%s is completed by the rules of the version that began it: EXIF data are ignored, 16-bit grey "
            "is clipped and transparent pixels show",
            self.cache,
        )
        return replace(chosen, decoding=None)

    def _remake(
        self, keys: Callable[[Segment], Sequence[str]], segment: Segment, images: ShardImages
    ) -> bool:
        """Whether a shard with invalid images is extracted again; on_error=fail is to fail on them."""
        rows = _rows(keys(segment), segment.rows(images.shard))
        return self.known.tries_again(rows, images, all_invalid=self.config.on_error == "fail")

    def _plan(self, request: CacheRequest, constants: Mapping[str, np.ndarray]) -> Plan:
        """Compare the request with the cache, refuse another cache or other images, and count the missing."""
        surveyed = survey_cache(self.cache, request)
        self._warn_of_other_machine(surveyed.metadata.manifest.provenance)
        refuse_other_root(surveyed, request)
        records = CommitRecords.read(surveyed.metadata)
        refuse_changed_images(surveyed, records, self.source, self.known.requested)
        for name, change in surveyed.changes.items():
            if self.config.limit is not None and change.left:
                raise LosaError(
                    f"{self.cache}: limit={self.config.limit} would take {change.left:,} images out of split "
                    f"{name!r}, which are extracted already: leave it out, or choose another cache=..."
                )
            _log.warning(
                "split %r has changed since it was extracted: %s images are new, %s have left it",
                name,
                f"{change.added:,}",
                f"{change.left:,}",
            )
        self.calibrator.warn_of_few(surveyed)
        remake = partial(self._remake, surveyed.keys)
        missing: Sequence[tuple[Segment, int]] = records.missing(surveyed.segments, remake=remake)
        if self.part is None:
            plan = Plan.of(surveyed, missing)
        else:
            segments = [one for one in records.segments if one.name in surveyed.segments]
            missing = self._of_part(missing, segments)
            plan = Plan.of(surveyed, missing, len(self.part.shards(segments)))
        return self._tried_out(plan, surveyed, missing, constants)

    def _tried_out(
        self,
        plan: Plan,
        surveyed: Survey,
        missing: Sequence[tuple[Segment, int]],
        constants: Mapping[str, np.ndarray],
    ) -> Plan:
        """The plan with the speeds of this machine, if it computes and a trial is worth its time."""
        size = self.config.images_per_batch
        batches = sum(-(-len(segment.rows(shard)) // size) for segment, shard in missing)
        worth = batches >= WORTH_BATCHES or (batches and self.config.plan)
        if not (worth and plan.fits and self.engine.in_process):
            return plan
        return replace(
            plan,
            calibration_images=0 if CENTRE in constants else self.calibrator.sample_size,
            speeds=self._try_out(surveyed, missing),
        )

    def _try_out(self, surveyed: Survey, missing: Sequence[tuple[Segment, int]]) -> Speeds | None:
        """The speeds of this machine on some of the missing images; None if all of them have departed."""
        keys = [
            key
            for segment, shard in missing
            for key in _rows(surveyed.keys(segment), segment.rows(shard))
            if not self.known.departed(key)
        ]
        if not keys:
            return None
        with computing_threads(self.config.threads):
            return try_out(
                self.forward,
                self.config.codec,
                missing[0][0],
                keys,
                batch_size=self.config.images_per_batch,
                cache=self.cache,
                thorough=self.config.plan,
            )

    def _of_part(
        self, missing: Sequence[tuple[Segment, int]], segments: Sequence[Segment]
    ) -> Sequence[tuple[Segment, int]]:
        """The missing shards of the requested segments that are in the requested part."""
        if self.part is None:
            return missing
        wanted = set(self.part.shards(segments))
        return [(segment, shard) for segment, shard in missing if (segment.name, shard) in wanted]

    def _request(self, constants: dict[str, np.ndarray]) -> CacheRequest:
        backbone = self.backbone
        features = FeatureIdentity(
            backbone=backbone.identity,
            preprocessing=self.preprocessing,
            site_groups=(self.group,),
            compute_dtype=self.config.dtype,
            codec=self.config.codec,
            final_norm=backbone.final_norm,
            constants={name: hash_array(array) for name, array in constants.items()},
        )
        return CacheRequest(
            dataset=self.config.dataset.name,
            features=features,
            labels=self.source.columns,
            splits=self.splits,
            rows_per_shard=self.config.rows_per_shard,
            store=self.config.store,
            compressor=self.config.compressor,
            provenance=self._machine() | backbone.origin | root_record(self.config.dataset.root),
        )

    def _machine(self) -> dict[str, str]:
        """Versions and hardware of the workers, on which the last bits of the features depend."""
        return self._worker | {"batch_size": str(self.config.batch_size)}

    @cached_property
    def _worker(self) -> dict[str, str]:
        found: list[dict[str, str]] = []
        task = MachineTask(self.forward, self.config.threads)
        self.engine.map(task, [None], lambda _, machine: found.append(machine))
        return found[-1]

    def _warn_of_other_machine(self, provenance: dict[str, str]) -> None:
        """Warn if the cache was begun elsewhere: features may then differ from ours by rounding."""
        ours = self._machine()
        theirs = {field: value for field, value in provenance.items() if field in ours}
        for field, here, there in differences(ours, theirs):
            _log.warning(
                "%s was begun with %s %s, now it is %s: features may differ in their last bits",
                self.cache,
                field,
                there,
                here,
            )

    def _extract(
        self,
        writer: CacheWriter,
        missing: Sequence[tuple[Segment, int]],
        calibration: Calibration | None,
    ) -> int:
        config = self.config
        shards = self._shards(writer, missing)
        images = sum(len(batch.keys) for batches in shards for batch in batches)
        task = EncodingTask(
            self.forward, config.threads, config.codec, calibration, whole_shards=not self.engine.in_process
        )
        with ShardThread(writer) as thread, progress_bar(images, "extracting", "img", counts=False) as bar:
            reception = Reception(self.forward, thread, bar)
            self.engine.map(task, self._runs(shards), reception.take)
        if reception.turned:
            _log.info("exif=%s: %s images have an EXIF orientation", config.exif, f"{reception.turned:,}")
        return reception.invalid

    def _shards(self, writer: CacheWriter, missing: Sequence[tuple[Segment, int]]) -> list[list[ShardBatch]]:
        """The rows of each missing shard in batches."""
        keys = {segment.name: read_keys(writer.metadata, segment) for segment, _ in missing}
        size = self.config.images_per_batch
        return [
            list(shard_batches(segment, shard, keys[segment.name], self.known.departed, size))
            for segment, shard in missing
        ]

    def _runs(self, shards: Sequence[Sequence[ShardBatch]]) -> list[list[ShardBatch]]:
        """The items of the engine: shards that follow each other, for which a worker decodes ahead."""
        count = 1 if self.engine.in_process else min(len(shards), _RUNS_PER_WORKER * self.engine.workers)
        bounds = pairwise(len(shards) * run // count for run in range(count + 1))
        return [[batch for shard in shards[start:stop] for batch in shard] for start, stop in bounds]


def extract(config: ExtractConfig, source: ImageSource | None = None) -> Extraction:
    """Run the first stage. Shards that an earlier run has committed are kept.

    Args:
        config: the options.
        source: the images; None: the source that ``config.dataset`` describes, of which only the name is used
            otherwise.

    Returns:
        Folder of the cache, and how many images were extracted in what time. `Cache` opens the folder.

    Raises:
        LosaError: an error that the user can correct; the message says how. It is an `IdentityMismatch` if
            the cache holds other features or images, a `CacheInUse` if another process writes to it, and
            `NonFiniteActivations` if there are some. With ``on_error="fail"``, an image that cannot be
            decoded is an error, too.
    """
    with (
        make_engine(config.engine, [config.device]) as engine,
        computing_threads(config.threads),
    ):
        return Extractor(config, source, engine).run()


def _for_workers(config: ExtractConfig, engine: Engine) -> ExtractConfig:
    """The options with as many decoding processes as a worker has cores, which does not know that itself."""
    return replace(config, workers=min(engine.cores, MOST_WORKERS)) if config.workers is None else config


def _rows(keys: Sequence[str], rows: range) -> Sequence[str]:
    return keys[rows.start : rows.stop]
