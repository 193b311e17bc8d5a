"""What one member needs before it can be trained: its options checked against its cache."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache as remembered
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from losa.adapt.config import AdaptConfig
from losa.adapt.data.residency import refuse_impossible
from losa.adapt.features import FeatureSpec
from losa.adapt.members.member_files import Checkpoint, MemberFiles
from losa.adapt.side_networks import SIDE_NETWORKS, make_side_network
from losa.cache_format import Cache, LabelColumn, LosaError
from losa.cache_format.common.device import resolve_device
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT
from losa.cache_format.metadata.index import image_ids, read_index
from losa.cache_format.metadata.labels import MISSING_LABEL
from losa.cache_format.sites import select_sites
from losa.cache_format.storage.sealed_json import canonical
from losa.cache_format.views import parse_key

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A member to train, and the folder it is written to.

    Jobs are equal if they are the same member in the same folder, whatever their idle options: the ranks of
    two linear probes.
    """

    config: AdaptConfig
    folder: Path

    def __eq__(self, other: object) -> bool:
        """See the class."""
        return isinstance(other, Job) and self._key == other._key

    def __hash__(self) -> int:
        """Of the same."""
        return hash(self._key)

    @property
    def _key(self) -> tuple[str, Path]:
        return self.config.member_id, self.folder


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """The images of a split that could be read and have a label."""

    positions: Int64[np.ndarray, "images"]
    labels: Int64[np.ndarray, "images columns"]
    views: int = 1
    """Of each image, all readable."""
    stride: int = 0
    """From the position of an image to that of its next view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedJob:
    """A job whose options fit its cache."""

    job: Job
    device: str
    cache: Cache
    features: FeatureSpec
    columns: tuple[LabelColumn, ...]
    training: LabelledImages
    """Of `AdaptConfig.training_split`."""
    scored: Mapping[str, LabelledImages]
    """By split: those to score in the end, and the one to watch."""
    origin: dict[str, Any]
    """The cache a member is trained from, for people and to know the member again."""
    checkpoint: Checkpoint | None = None

    @property
    def config(self) -> AdaptConfig:
        """Of the member."""
        return self.job.config

    @property
    def files(self) -> MemberFiles:
        """Of the member."""
        return MemberFiles(self.job.folder, self.job.config)

    def looked_up(self) -> "PreparedJob | dict[str, Any]":
        """What its folder holds now: the summary if it is finished, else the job with its checkpoint.

        Raises:
            LosaError: another finished member is there.
        """
        if self.config.overwrite:
            return self
        finished = self.files.finished(self.origin)
        if finished is not None:
            return finished
        return replace(self, checkpoint=self.files.checkpoint(self.origin))


class JobOffice:
    """Prepares jobs; what several of them need is read once."""

    def __init__(self) -> None:
        self._open = remembered(Cache)
        self._labelled = remembered(_labelled)
        self._warned = remembered(_warn_of_shared_images)

    def prepare(self, job: Job) -> PreparedJob | dict[str, Any]:
        """Check a job, or find its summary if it is finished.

        Raises:
            LosaError: anything the person who started it can mend; the message says how.
        """
        config = job.config
        device = resolve_device(config.device)
        cache = self._open(config.cache)
        features = _feature_spec(cache, config)
        columns = tuple(cache.label_column(name) for name in config.labels)
        for column in columns:
            if column.num_classes < 2:
                raise LosaError(
                    f"{cache.path}: label column {column.name!r} has {column.num_classes} classes; "
                    "training a classifier needs at least two"
                )
        # An architecture that does not fit is this job's own mistake, not that of those it would train with.
        make_side_network(config.architecture, features, 2, [config.seed])
        refuse_missing_splits(cache, config)
        training = self._labelled(cache, config.training_split, config.labels, config.views)
        scored = {
            name: self._labelled(cache, name, config.labels, 1)
            for name in (*config.eval_splits, config.val_split)
            if name is not None
        }
        self._refuse_one_class(cache, config, training)
        for name, images in scored.items():
            self._warned(cache, config.training_split, training, name, images)
        prepared = PreparedJob(
            job=job,
            device=device,
            cache=cache,
            features=features,
            columns=columns,
            training=training,
            scored=scored,
            origin=_origin(cache, columns, scored | {config.training_split: training}),
        )
        found = prepared.looked_up()
        # A split is opened only where it can be refused: that reads a record for each of its shards.
        if isinstance(found, PreparedJob) and config.residency in ("gpu", "ram"):
            train = cache.split(config.training_split, features.sites)
            codes = len(training.positions) * config.views
            refuse_impossible(config.residency, train, images=codes, device=device)
        return found

    @staticmethod
    def _refuse_one_class(cache: Cache, config: AdaptConfig, images: LabelledImages) -> None:
        for name, column in zip(config.labels, images.labels.T, strict=True):
            known = column[column != MISSING_LABEL]
            if len(np.unique(known)) < 2:
                raise LosaError(
                    f"{cache.path}: all {len(known)} images of split {config.train_split!r} have the same "
                    f"label in column {name!r}; there is nothing to learn"
                )


def _feature_spec(cache: Cache, config: AdaptConfig) -> FeatureSpec:
    """What the side network has to know of the sites it reads."""
    group = cache.manifest.features.group
    selected = select_sites(config.sites, cache.sites)
    return FeatureSpec(
        sites=selected[-1:] if SIDE_NETWORKS[config.side].reads_last_site_only else selected,
        tokens=group.tokens,
        width=group.width,
        final_norm=cache.manifest.features.final_norm,
        constants={
            name: cache.constants[name] for name in (NORM_WEIGHT, NORM_BIAS) if name in cache.constants
        },
    )


def refuse_missing_splits(cache: Cache, config: AdaptConfig) -> None:
    """Refuse splits to train on or to score that the cache does not have.

    Raises:
        LosaError: naming those it has, and how views are added.
    """
    for name in config.eval_splits:
        cache.manifest.split(name)
    cache.manifest.split(config.train_split)  # raises if even that is missing
    known = [split.name for split in cache.manifest.splits]
    if config.training_split not in known:
        raise LosaError(
            f"views={config.views}: {cache.path} has no split {config.training_split!r}; it has: "
            f"{', '.join(known)}. losa-extract splits=[{config.train_split}] views={config.views} adds it"
        )


def _labelled(cache: Cache, name: str, columns: tuple[str, ...], views: int) -> LabelledImages:
    split = cache.split(name)
    images = len(split) // views
    if views > 1:
        photographs = [parse_key(key)[0] for key in split.keys]
        if photographs != views * photographs[:images]:
            raise LosaError(f"{cache.path}: split {name!r} does not hold {views} views of each of its images")
    labels = np.stack([split.labels(column)[:images] for column in columns], axis=1)
    valid = np.logical_and.reduce(split.valid.reshape(views, images))
    known = valid[:, None] & (labels != MISSING_LABEL)
    for column, found in zip(columns, known.any(axis=0), strict=True):
        if not found:
            raise LosaError(
                f"{cache.path}: none of the {images} images of split {name!r} is readable and has a "
                f"label in column {column!r}"
            )
    positions = np.flatnonzero(known.any(axis=1))
    return LabelledImages(positions, labels[positions], views, images)


def _warn_of_shared_images(
    cache: Cache, train_split: str, training: LabelledImages, name: str, scoring: LabelledImages
) -> None:
    """Say which scores are not those of unseen images."""
    trained, scored = (
        image_ids(read_index(cache.metadata, cache.manifest.split(split)))[images.positions]
        for split, images in ((train_split, training), (name, scoring))
    )
    shared = int(np.isin(scored, trained).sum())
    if shared:
        _log.warning("%d of %d images of %s are also trained on", shared, len(scored), name)


def _origin(
    cache: Cache, columns: tuple[LabelColumn, ...], splits: Mapping[str, LabelledImages]
) -> dict[str, Any]:
    manifest = cache.manifest
    labels = {
        "columns": [[column.name, column.num_classes, column.classes] for column in columns],
        "splits": {
            name: [hash_array(split.positions), hash_array(split.labels)] for name, split in splits.items()
        },
    }
    return {
        "path": str(cache.path),
        "dataset": manifest.dataset,
        "backbone": manifest.features.backbone.name,
        "weights_sha256": manifest.features.backbone.weights_sha256,
        "codec": manifest.features.codec,
        "features_sha256": manifest.features.sha256,
        "labels_sha256": hashlib.sha256(canonical(labels)).hexdigest(),
        "splits": {name: manifest.split(name).keys_sha256 for name in sorted(splits)},
    }
