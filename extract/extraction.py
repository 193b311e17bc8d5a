"""The first stage: images through a frozen backbone into a cache."""

import logging
import platform
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
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
    Segment,
    SplitContents,
)
from losa.cache_format.codecs.torch_codecs import DeviceCodec
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.identity import FeatureIdentity, SiteGroup
from losa.cache_format.metadata.constants import calibration_of
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.shards.commit_records import CommitRecords
from losa.cache_format.storage.paths import CachePath, cache_folder, shell_path
from losa.cache_format.survey import CacheRequest, survey_cache
from losa.cache_format.views import View, parse_views_split, views_split
from losa.extract.backbone import FrozenBackbone, load_backbone
from losa.extract.calibrator import Calibrator
from losa.extract.changed_images import refuse_changed_images
from losa.extract.config import ExtractConfig
from losa.extract.encoding import encode
from losa.extract.forward_pass import ForwardPass, in_batches
from losa.extract.plan import Plan
from losa.extract.shard_thread import EncodedBatch, ShardThread
from losa.extract.sources import ImageSource, open_source
from losa.extract.views import ViewedSource, refuse_other_views, with_views

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

    def __init__(self, config: ExtractConfig) -> None:
        """Open the source and load the backbone.

        Raises:
            LosaError: an option is wrong, or the source or the weights it names cannot be opened.
        """
        self.config = config
        self.cache = cache_folder(config.cache)
        self.device = resolve_device(config.device)
        self.source: ImageSource = ViewedSource(open_source(config.dataset))
        names = list(config.splits or self.source.splits)
        if config.views > 1:
            names += [views_split(name, config.views) for name in names]
        self.splits = [self._contents(name) for name in names]
        self.backbone: FrozenBackbone = load_backbone(config.backbone)
        self.group: SiteGroup = self.backbone.group(config.sites)
        self.forward = ForwardPass(config, self.source, self.backbone, self.group.sites, self.device)
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
        if not self.config.plan:
            constants |= self.calibrator.missing(constants)
            with CacheWriter(self.cache, self._request(constants), constants) as writer:
                # Not the plan's shards: another process may have written some before the lock was taken.
                missing = writer.missing(remake_invalid=self._remake_invalid)
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

    @property
    def _remake_invalid(self) -> bool:
        """Whether shards with invalid images are extracted again, to fail on these images."""
        return self.config.on_error == "fail"

    def _plan(self, request: CacheRequest) -> Plan:
        """Compare the request with the cache, refuse another cache or other images, and count the missing."""
        surveyed = survey_cache(self.cache, request)
        self._warn_of_other_machine(request.provenance, surveyed.metadata.manifest.provenance)
        records = CommitRecords.read(surveyed.metadata)
        known = {key for split in self.splits for key in split.keys}
        refuse_changed_images(surveyed, records, self.source, known)
        return Plan.of(surveyed, records.missing(surveyed.segments, remake_invalid=self._remake_invalid))

    def _contents(self, name: str) -> SplitContents:
        """A split of the source, or a split with the views of its images."""
        config = self.config
        known = self.source.splits
        split, views = (name, 1) if name in known else parse_views_split(name)
        if split not in known:
            raise LosaError(
                f"the data set has no split {split!r}; it has: {', '.join(known)}. "
                f"Choose with splits, as in splits=[{known[0]}]"
            )
        contents = self.source.contents(split)
        if config.limit is not None:
            labels = {column: values[: config.limit] for column, values in contents.labels.items()}
            contents = SplitContents(name=split, keys=contents.keys[: config.limit], labels=labels)
        if views == 1:
            return contents
        kinds = [View(number, config.view_crop, config.view_flip) for number in range(1, views)]
        return with_views(contents, kinds)

    def _request(self, constants: dict[str, np.ndarray]) -> CacheRequest:
        backbone = self.backbone
        features = FeatureIdentity(
            backbone=backbone.identity,
            preprocessing=backbone.preprocessing,
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
            provenance={
                "losa": version("losa"),
                "timm": timm.__version__,
                "torch": torch.__version__,
                "pillow": PIL.__version__,
                "machine": platform.machine(),
                "device": _device_name(self.device),
                "threads": str(torch.get_num_threads()),
                "batch_size": str(self.config.batch_size),
            },
        )

    def _warn_of_other_machine(self, ours: dict[str, str], theirs: dict[str, str]) -> None:
        """Warn if the cache was begun elsewhere: features may then differ from ours by rounding."""
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
        waits = {"decoding": 0.0, "backbone": 0.0, "disk": 0.0}
        invalid = 0
        with (
            # First, because it forks workers, and at that moment no thread must exist.
            closing(self.forward.decode([batch for _, _, batch in jobs])) as decoded,
            ShardThread(writer) as shards,
            progress_bar(images, "extracting", "img") as bar,
        ):
            clock = time.perf_counter()
            for segment, shard, _ in jobs:
                batch = next(decoded)
                clock = _lap(waits, "decoding", clock)
                invalid += self.forward.count_invalid(batch)
                codes, statistics = encode(codec, self.forward.activations(batch), self.group.sites)
                clock = _lap(waits, "backbone", clock)
                shards.put(EncodedBatch(segment, shard, codes, batch.outcomes, statistics))
                clock = _lap(waits, "disk", clock)
                bottleneck = max(waits, key=lambda stage: waits[stage])
                bar.set_postfix_str(f"bottleneck: {bottleneck}", refresh=False)
                bar.update(len(batch.outcomes))
        return invalid

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


def extract(config: ExtractConfig) -> Extraction:
    """Run the first stage. Shards that an earlier run has committed are kept.

    Raises:
        LosaError: an error that the user can correct; the message says how.
    """
    return Extractor(config).run()


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def _rows(keys: Sequence[str], rows: range) -> Sequence[str]:
    return keys[rows.start : rows.stop]


def _lap(waits: dict[str, float], stage: str, since: float) -> float:
    now = time.perf_counter()
    waits[stage] += now - since
    return now
