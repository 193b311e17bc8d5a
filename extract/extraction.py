"""The first stage: images through a frozen backbone into a cache."""

import logging
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

import numpy as np
import PIL
import timm
import torch

from losa.cache_format import (
    CacheWriter,
    Calibration,
    CorruptCache,
    LosaError,
    Manifest,
    Segment,
    SplitContents,
)
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.threads import thread_count
from losa.cache_format.identity import FeatureIdentity, Preprocessing, SiteGroup
from losa.cache_format.metadata.constants import calibration_of
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.shards.shard_images import ShardImages
from losa.cache_format.storage.paths import CachePath, cache_folder, shell_path
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.survey import CacheRequest, has_shards, survey_cache
from losa.cache_format.views import View, parse_views_split, views_split
from losa.extract.backbone import FrozenBackbone
from losa.extract.calibrator import Calibrator
from losa.extract.changed_images import refuse_changed_images
from losa.extract.config import ExtractConfig
from losa.extract.data_set_root import refuse_other_root, root_record
from losa.extract.departed import DEPARTED, DataSetKeys
from losa.extract.encoding import encode
from losa.extract.forward_pass import ForwardPass, in_batches
from losa.extract.limit import limited
from losa.extract.loading import load_backbone
from losa.extract.pixels import DEFAULT_DECODING
from losa.extract.plan import Plan
from losa.extract.preprocessing import choose_preprocessing
from losa.extract.shard_thread import EncodedBatch, ShardThread
from losa.extract.sources import ImageSource, open_source
from losa.extract.splitting import cut
from losa.extract.views import refuse_keys_of_views, refuse_other_views, with_views

_log = logging.getLogger(__name__)

POOR_SNR_DB = {"float16": 30.0, "bfloat16": 30.0, "int8": 30.0, "int4": 15.0}
"""Signal-to-noise ratios, in dB, below which a codec is warned of.

On the features of a trained ViT, int8 reaches 43 to 46 dB, int4 21 to 23 dB, and the others more.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The result of a run of the first stage."""

    cache: CachePath
    images: int
    """Number of images that this run extracted."""
    invalid: int
    """Number of them that are invalid (on_error=skip)."""
    seconds: float
    """Duration of the run."""
    finished: bool
    """Whether the cache is complete; False after plan=true."""


class Extractor:
    """One extraction: its options, source, backbone and calibrator."""

    def __init__(self, config: ExtractConfig, source: ImageSource | None = None) -> None:
        """Open the source, unless it is given, and load the backbone.

        Raises:
            LosaError: an option is wrong, or the source or the weights it names cannot be opened.
        """
        self.config = config
        self.cache = cache_folder(config.cache)
        self.device = resolve_device(config.device)
        self.source: ImageSource = open_source(config.dataset) if source is None else source
        for note in self.source.notes:
            _log.warning("%s", note)
        self.parts = (
            [] if config.split is None else cut(self.source, config.split_of, config.split, config.split_seed)
        )
        names = list(config.splits or [part.name for part in self.parts] or self.source.splits)
        if config.views > 1:
            names += [views_split(name, config.views) for name in names]
        self.splits = [self._contents(name) for name in names]
        self.known = DataSetKeys(self.source, {key for split in self.splits for key in split.keys})
        self.backbone: FrozenBackbone = load_backbone(config.backbone)
        self.group: SiteGroup = self.backbone.group(config.sites)
        self.preprocessing = self._rules_of_the_cache(
            choose_preprocessing(self.backbone.preprocessing, config)
        )
        self.forward = ForwardPass(
            config, self.source, self.backbone, self.preprocessing, self.group.sites, self.device
        )
        self.calibrator = Calibrator(
            config=config, cache=self.cache, group=self.group, splits=self.splits, forward=self.forward
        )

    def run(self) -> Extraction:
        """Extract the shards that are missing from the cache.

        All refusals come before the cache is created or changed.
        """
        start = time.perf_counter()
        refuse_other_views(self.cache, self.splits)
        constants = {**self.backbone.final_norm_constants, **self.calibrator.stored()}
        plan = self._plan(self._request(constants))
        _log.info("%s", plan)
        plan.refuse_if_too_large()
        invalid = 0
        # A finished cache is not locked: it may be on a medium that cannot be written to.
        if not (self.config.plan or plan.is_finished):
            constants |= self.calibrator.missing(constants)
            with CacheWriter(self.cache, self._request(constants), constants) as writer:
                # Not the plan's shards: another process may have written some before the lock was taken.
                missing = writer.missing(remake=partial(self._remake, partial(read_keys, writer.metadata)))
                if missing:
                    invalid = self._extract(writer, missing, calibration_of(constants))
                    self._report_losses(writer)
        return Extraction(
            cache=self.cache,
            images=0 if self.config.plan else plan.images,
            invalid=invalid,
            seconds=time.perf_counter() - start,
            finished=not self.config.plan,
        )

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

    def _plan(self, request: CacheRequest) -> Plan:
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
        return Plan.of(surveyed, records.missing(surveyed.segments, remake=remake))

    def _contents(self, name: str) -> SplitContents:
        """A split of the source, or a part of its only one, or a split with the views of its images."""
        config = self.config
        parts = {part.name: part for part in self.parts}
        known = tuple(parts) or self.source.splits
        split, views = (name, 1) if name in known else parse_views_split(name)
        if split not in known:
            raise LosaError(
                f"the data set has no split {split!r}; it has: {', '.join(known)}. "
                f"Choose with splits, as in splits=[{known[0]}]"
            )
        contents = parts[split] if parts else self.source.contents(split)
        refuse_keys_of_views(contents)
        if config.limit is not None:
            contents = limited(contents, config.limit)
        if views == 1:
            return contents
        kinds = [View(number, config.view_crop, config.view_flip) for number in range(1, views)]
        return with_views(contents, kinds)

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
        """Versions and hardware, on which the last bits of the features depend."""
        return {
            "losa": version("losa"),
            "timm": timm.__version__,
            "torch": torch.__version__,
            "pillow": PIL.__version__,
            "machine": platform.machine(),
            "device": _device_name(self.device),
            "threads": str(torch.get_num_threads()),
            "batch_size": str(self.config.batch_size),
        }

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
        codec = DeviceCodec(self.config.codec, calibration, self.device)
        keys = {segment.name: read_keys(writer.metadata, segment) for segment, _ in missing}
        jobs = [
            (segment, shard, batch)
            for segment, shard in missing
            for batch in in_batches(_rows(keys[segment.name], segment.rows(shard)), self.config.batch_size)
        ]
        images = sum(len(batch) for _, _, batch in jobs)
        _log.info(
            "%d threads (threads=%s), %d processes that decode",
            torch.get_num_threads(),
            self.config.threads,
            self.forward.workers,
        )
        waits = {"decoding": 0.0, "backbone": 0.0, "disk": 0.0}
        invalid = turned = 0
        with (
            # First, because it forks workers, and at that moment no thread must exist.
            closing(self.forward.decode([self._present(batch) for _, _, batch in jobs])) as decoded,
            ShardThread(writer) as shards,
            progress_bar(images, "extracting", "img") as bar,
        ):
            clock = time.perf_counter()
            for segment, shard, keys_of_batch in jobs:
                batch = next(decoded)
                clock = _lap(waits, "decoding", clock)
                invalid += self.forward.count_invalid(batch)
                self.forward.report_warnings(batch)
                turned += batch.turned
                codes, statistics = encode(codec, self.forward.activations(batch), self.group.sites)
                clock = _lap(waits, "backbone", clock)
                outcomes = self._outcomes(keys_of_batch, batch.outcomes)
                shards.put(EncodedBatch(segment, shard, codes, outcomes, statistics))
                clock = _lap(waits, "disk", clock)
                bottleneck = max(waits, key=lambda stage: waits[stage])
                bar.set_postfix_str(f"bottleneck: {bottleneck}", refresh=False)
                bar.update(len(outcomes))
        if turned:
            _log.info("exif=%s: %s images have an EXIF orientation", self.config.exif, f"{turned:,}")
        return invalid

    def _present(self, keys: Sequence[str]) -> Sequence[str]:
        return [key for key in keys if not self.known.departed(key)]

    def _outcomes(self, keys: Sequence[str], decoded: Sequence[bytes | str]) -> list[bytes | str]:
        """The outcomes of all images of a batch, of which the departed ones were not decoded."""
        of_present = iter(decoded)
        return [f"{key}: {DEPARTED}" if self.known.departed(key) else next(of_present) for key in keys]

    def _report_losses(self, writer: CacheWriter) -> None:
        """Log the signal-to-noise ratio of the codec, and warn of a poor one."""
        if self.config.codec == "float32":
            return
        try:
            measured = zip(writer.statistics(), self.group.sites, strict=True)
        except CorruptCache as error:  # a record of a split that was not requested
            _log.warning("%s. Run losa-cache verify %s for details.", error, shell_path(self.cache))
            return
        decibels = [(statistics.snr_db, site) for statistics, site in measured if statistics.count]
        if not decibels:
            return
        (low, site), (high, _) = min(decibels), max(decibels)
        _log.info("codec=%s: signal-to-noise ratio %.1f (%s) to %.1f dB", self.config.codec, low, site, high)
        if low < POOR_SNR_DB[self.config.codec]:
            _log.warning("%.1f dB is low: compare with codec=bfloat16 before you rely on it", low)


def extract(config: ExtractConfig, source: ImageSource | None = None) -> Extraction:
    """Run the first stage. Shards that an earlier run has committed are kept.

    Args:
        config: the options.
        source: the images; None: the source that ``config.dataset`` describes, of which only the name is used
            otherwise.

    Raises:
        LosaError: an error that the user can correct; the message says how.
    """
    before = torch.get_num_threads()
    # Other processes do not count: the number of threads decides the last bits of the features.
    torch.set_num_threads(thread_count(config.threads, before))
    try:
        return Extractor(config, source).run()
    finally:
        torch.set_num_threads(before)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def _rows(keys: Sequence[str], rows: range) -> Sequence[str]:
    return keys[rows.start : rows.stop]


def _lap(waits: dict[str, float], stage: str, since: float) -> float:
    now = time.perf_counter()
    waits[stage] += now - since
    return now
