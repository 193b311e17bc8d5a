"""Checks the options of jobs against their caches, before anything is trained."""

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from losa.adapt.architecture import Architecture
from losa.adapt.config import AdaptConfig
from losa.adapt.data.labelled_images import LabelledImages, read_labelled_images
from losa.adapt.data.residency import refuse_impossible_residency
from losa.adapt.data.split_union import open_union, union_name
from losa.adapt.features import FeatureSpec
from losa.adapt.members.class_coverage import tell_unused_classes, warn_of_unseen_classes
from losa.adapt.members.job import Job
from losa.adapt.members.member_files import BEST, Checkpoint, MemberFiles
from losa.adapt.members.shared_images import SharedImages
from losa.adapt.members.splits import refuse_missing_splits
from losa.adapt.members.summary import Outcome
from losa.adapt.side_networks import SIDE_NETWORKS, make_side_network
from losa.adapt.training.member_group import make_group
from losa.adapt.training.recorded_steps import refuse_impossible_compile
from losa.adapt.training.running_epoch import CORRECT, LOSSES
from losa.cache_format import Cache, LabelColumn, LosaError
from losa.cache_format.common.emulated_dtypes import warn_if_emulated
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.units import counted
from losa.cache_format.engines import Engine, LocalEngine
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.storage.sealed_json import canonical

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedJob:
    """A job whose options fit its cache."""

    job: Job
    device: str
    cache: Cache
    features: FeatureSpec
    columns: tuple[LabelColumn, ...]
    training: LabelledImages
    """Images of `AdaptConfig.training_splits`."""
    scored: Mapping[str, LabelledImages]
    """Images of the evaluation splits and of the validation split, by the name of the split."""
    origin: dict[str, Any]
    """Identity of the data, by which a member that was trained from it is recognised."""
    company: tuple[str, ...] = ()
    """Ids of the members that successive halving compares, this one included; empty without ``halve_at``."""
    checkpoint: Checkpoint | None = None
    """The checkpoint to resume from."""

    @property
    def config(self) -> AdaptConfig:
        """Configuration of the member."""
        return self.job.config

    @property
    def architecture(self) -> Architecture:
        """Architecture of the member, with ``pool=auto`` resolved."""
        return self.config.architecture_for(self.features.tokens)

    @property
    def files(self) -> MemberFiles:
        """Files of the member."""
        return MemberFiles(self.job.folder, self.job.config, self.company)

    @property
    def computed_images(self) -> int:
        """Number of images that training computes, each once for every epoch."""
        return len(self.training) * self.config.trained_epochs

    def read_outcome(self, warn: Callable[..., None]) -> Outcome | None:
        """The summary in the folder if the member is finished, or the error with which it diverged.

        It is None if the member is to be trained.

        Args:
            warn: told why a summary does not count, in the way of `logging.Logger.warning`.

        Raises:
            LosaError: the folder holds something else.
        """
        if self.config.overwrite:
            return None
        return self.files.read_finished(self.origin, warn=warn) or self.files.read_divergence(self.origin)

    def with_checkpoint(self, *, choose_size: bool = False) -> "PreparedJob":
        """The job with the checkpoint in its folder, if it is to resume from one.

        Args:
            choose_size: whether to choose the size of micro-batches again, for another pass than before.
        """
        if self.config.overwrite:
            return self
        checkpoint = self.files.read_checkpoint(self.origin)
        problem = None if checkpoint is None else self._misfit(checkpoint)
        if problem is not None:
            _log.warning("%s %s; the member is trained from the start", self.files.checkpoint_path, problem)
            checkpoint = None
        if checkpoint is not None and choose_size:
            checkpoint = replace(checkpoint, micro_batch_size=None)
        return replace(self, checkpoint=checkpoint)

    def broken_off(self) -> "PreparedJob":
        """The job after its pass has failed: it goes on from what is in its folder, in any case."""
        config = replace(self.config, overwrite=False)
        return replace(self, job=replace(self.job, config=config), checkpoint=None)

    def _misfit(self, checkpoint: Checkpoint) -> str | None:
        """What a checkpoint lacks of the state of this member; None if it lacks nothing."""
        classes = sum(column.num_classes for column in self.columns)
        group = make_group([0], [self.config], self.features, classes, "cpu")
        expected = {name: value.shape for name, value in group.member_state(0).items()}
        kept = {name: shape for name, shape in expected.items() if name.startswith("parameter.")}
        progress = checkpoint.progress
        ended = progress["stopped_after"] is not None or progress.get("diverged") is not None
        needed = {} if ended else dict(expected)
        if checkpoint.step and not ended:
            needed |= {LOSSES: torch.Size([checkpoint.step]), CORRECT: torch.Size([])}
        if any(name.startswith(BEST) for name in checkpoint.state):
            needed |= {f"{BEST}{name}": shape for name, shape in kept.items()}
        for name, shape in needed.items():
            found = checkpoint.state.get(name)
            if found is None:
                return f"has no tensor {name!r}"
            if found.shape != shape:
                return f"has a tensor {name!r} of shape {tuple(found.shape)}, expected {tuple(shape)}"
        return None

    def refuse_impossible(self) -> None:
        """Refuse options that do not fit the device, and images that do not fit where they are to be kept.

        Raises:
            LosaError: the device is no GPU, or the memory is too small.
        """
        refuse_impossible_compile(self.config.compile, self.device)
        # Opening a split reads a record for each shard, so it is opened only if its size may be refused.
        if self.config.residency in ("gpu", "ram"):
            views = self.config.views
            train = open_union(self.cache, self.config.training_splits, views, self.features.sites)
            images = len(self.training) * views
            refuse_impossible_residency(self.config.residency, train, images=images, device=self.device)


class JobPreparer:
    """Prepares jobs. Caches and splits that several jobs use are read, hashed and compared once."""

    def __init__(self, engine: Engine | None = None) -> None:
        """Read nothing yet.

        Args:
            engine: will train the jobs; None: this process will.
        """
        self._engine: Engine = engine or LocalEngine()
        self._open_cache = functools.cache(Cache)
        self._read_images = functools.cache(read_labelled_images)
        self._shared_images = SharedImages()
        self._warn_of_unseen_classes = functools.cache(warn_of_unseen_classes)
        self._tell_unused_classes = functools.cache(tell_unused_classes)
        self._warn_of_rank = functools.cache(_warn_of_rank)
        self._refuse_one_class = functools.cache(_refuse_one_class)
        self._origin = functools.cache(_origin)

    def prepare(self, job: Job) -> PreparedJob:
        """Check the options of a job.

        Raises:
            LosaError: the options are wrong, or do not fit the cache.
        """
        config = job.config
        device = self._engine.resolve_device(config.device)
        if self._engine.in_process:
            warn_if_emulated(config.dtype, device)
        cache = self._open_cache(config.cache)
        features = _feature_spec(cache, config)
        columns = tuple(cache.label_column(name) for name in config.labels)
        for column in columns:
            if column.num_classes < 2:
                raise LosaError(
                    f"{cache.path}: label column {column.name!r} has "
                    f"{counted(column.num_classes, 'class', 'classes')}; "
                    "training a classifier needs at least two"
                )
        # An architecture that does not fit must fail this job alone, not all jobs of its pass.
        make_side_network(config.architecture_for(features.tokens), features, 2, [config.seed])
        if config.effective_rank is not None and config.effective_rank > features.width:
            self._warn_of_rank(config.effective_rank, features.width)
        refuse_missing_splits(cache, config)
        training = self._read_images(cache, config.training_splits, config.labels, config.views)
        scored = {
            name: self._read_images(cache, (name,), config.labels, 1)
            for name in (*config.eval_splits, config.val_split)
            if name is not None
        }
        self._refuse_one_class(cache, union_name(config.train_splits), config.labels, training)
        for name, images in scored.items():
            self._shared_images.warn_of_training(
                cache, config.training_splits, config.views, training, name, images
            )
            self._warn_of_unseen_classes(columns, union_name(config.train_splits), training, name, images)
        self._tell_unused_classes(columns, training, *scored.values())
        # On select_split, a choice is what is wanted.
        if config.val_split not in (None, config.select_split) and (config.patience or config.halve_at):
            for name in config.eval_splits:
                self._shared_images.warn_of_patience(cache, config.val_split, name)
        return PreparedJob(
            job=job,
            device=device,
            cache=cache,
            features=features,
            columns=columns,
            training=training,
            scored=scored,
            origin=self._origin(cache, columns, config.training_splits, training, tuple(scored.items())),
        )


def _refuse_one_class(cache: Cache, split: str, labels: tuple[str, ...], images: LabelledImages) -> None:
    for name, column in zip(labels, images.labels.T, strict=True):
        known = column[column != MISSING_LABEL]
        if known.min() == known.max():
            raise LosaError(
                f"{cache.path}: all {len(known)} images of split {split!r} have the same label in column "
                f"{name!r}; there is nothing to learn"
            )


def _warn_of_rank(rank: int, width: int) -> None:
    _log.warning(
        "rank=%d is above the width of the activations: %d already gives every update its full rank",
        rank,
        width,
    )


def _feature_spec(cache: Cache, config: AdaptConfig) -> FeatureSpec:
    """The features that the side network reads."""
    features = cache.manifest.features
    group, selected = features.group, features.select(config.sites)
    return FeatureSpec(
        sites=selected[-1:] if SIDE_NETWORKS[config.side].reads_last_site_only else selected,
        tokens=group.tokens,
        width=group.width,
        final_norm=features.final_norm,
        constants={
            name: cache.constants[name] for name in (NORM_WEIGHT, NORM_BIAS) if name in cache.constants
        },
    )


def _origin(
    cache: Cache,
    columns: tuple[LabelColumn, ...],
    train_splits: tuple[str, ...],
    training: LabelledImages,
    scored: tuple[tuple[str, LabelledImages], ...],
) -> dict[str, Any]:
    manifest = cache.manifest
    used = {**dict(scored), union_name(train_splits): training}
    labels = {
        "columns": [[column.name, column.num_classes, column.classes] for column in columns],
        "splits": {
            name: [hash_array(images.positions), hash_array(images.labels)] for name, images in used.items()
        },
    }
    return {
        "path": str(cache.path),
        "dataset": manifest.dataset,
        "backbone": manifest.features.backbone.name,
        "weights_sha256": manifest.features.backbone.weights_sha256,
        "codec": manifest.features.codec,
        "features_sha256": cache.metadata.features_sha256,
        "labels_sha256": hashlib.sha256(canonical(labels)).hexdigest(),
        "splits": {name: manifest.split(name).keys_sha256 for name in sorted({*dict(scored), *train_splits})},
    }
