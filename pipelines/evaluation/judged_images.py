"""The images that side networks are judged on: a split of a cache, or images that no cache has."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int64

from losa.adapt import ActivationStream, CachedStream, StackedSideNetworks
from losa.adapt.trained.scoring import refuse_other_cache
from losa.cache_format import Cache, LabelColumn, LosaError, SplitContents
from losa.cache_format.clips import clips_of_each, parse_clip
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.units import counted
from losa.cache_format.storage.paths import cache_folder
from losa.extract import DatasetConfig, FrozenBackbone, open_source
from losa.extract.data_set_root import root_record
from losa.extract.limit import limited
from losa.extract.live import LiveActivations
from losa.extract.splitting import cut
from losa.pipelines.classifier.media import refuse_other_media
from losa.pipelines.evaluation.config import EvaluateConfig


class LabelledImages(Protocol):
    """The labels of images."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    @property
    def columns(self) -> tuple[LabelColumn, ...]:
        """Label columns."""

    @property
    def labels(self) -> Mapping[str, Int64[np.ndarray, "images"]]:
        """Label column -> label of every image."""


class JudgedImages(LabelledImages, Protocol):
    """Images with labels, and their activations."""

    @property
    def keys(self) -> Sequence[str]:
        """Keys of the images, in the order of the labels; without those that are known to be invalid."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of the images, a line each."""

    @property
    def invalid(self) -> Sequence[str]:
        """Invalid images so far, a line for each."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """JSON values that tell these images and their activations from others, beside keys and labels."""

    @property
    def clips(self) -> int:
        """Number of images in `activations` for each key: all crops of all clips of a video, side by side."""

    def activations(self, first: int) -> ActivationStream:
        """The activations of the images from a position in `keys` on."""


class CachedImages:
    """A split of a cache. Images that were invalid when they were extracted are left out, and counted."""

    def __init__(self, config: EvaluateConfig, networks: StackedSideNetworks, device: str) -> None:
        """Open the split, and refuse a cache of another backbone or of other inputs.

        Raises:
            LosaError: there is no such cache or split, or it does not fit the side networks.
        """
        assert config.cache is not None
        cache = Cache(cache_folder(config.cache))
        refuse_other_cache(cache, networks)
        record = cache.manifest.split(config.eval_split, "; choose with eval_split=...")
        split = cache.split(record.name, networks.sites)
        self.name = cache.manifest.dataset
        self.columns = cache.manifest.labels
        self.clips = clips_of_each(split.keys)
        first = slice(None, None, self.clips)
        contents = SplitContents(
            name=record.name,
            keys=[parse_clip(key)[0] for key in split.keys[first]] if self.clips > 1 else split.keys,
            labels={column.name: split.labels(column.name)[first] for column in self.columns},
        )
        rows = np.arange(len(contents.keys))
        if config.limit is not None:
            chosen = set(limited(contents, config.limit).keys)
            rows = np.array([row for row, key in enumerate(contents.keys) if key in chosen])
        valid = np.logical_and.reduce(split.valid.reshape(-1, self.clips), axis=1)[rows]
        self.invalid = [f"{contents.keys[row]}: invalid in the cache" for row in rows[~valid]]
        told = counted(len(self.invalid), "image is", "images are")
        self.notes = [f"{told} invalid in the cache"] if self.invalid else []
        kept = rows[valid]
        self.keys = [contents.keys[row] for row in kept]
        self.labels = {column: labels[kept] for column, labels in contents.labels.items()}
        self._positions = (kept[:, None] * self.clips + np.arange(self.clips)).ravel()
        hashes = hash_array(np.frombuffer(split.source_hashes[self._positions].tobytes(), np.uint8))
        self.facts: dict[str, Any] = {"features": cache.manifest.features.sha256, "source_hashes": hashes}
        if self.clips > 1:
            self.facts["split"] = record.name
        self._open = partial(
            CachedStream, cache, record.name, networks, device=device, batch_size=config.batch_size
        )

    def activations(self, first: int) -> ActivationStream:
        """See `JudgedImages`."""
        return self._open(positions=self._positions[first * self.clips :])


class LiveImages:
    """A split of a data set, whose images go through the backbone once, for all side networks."""

    def __init__(
        self,
        dataset: DatasetConfig,
        config: EvaluateConfig,
        networks: StackedSideNetworks,
        backbone: FrozenBackbone,
        device: str,
    ) -> None:
        """Open the data set; nothing is decoded yet.

        Raises:
            LosaError: the data set cannot be opened, or has no such split.
        """
        refuse_other_media(networks, dataset.has_frames, config.clips, config.crops)
        self._source = open_source(dataset)
        contents = self._contents(config)
        self.notes = self._source.notes
        self.name = dataset.name
        self.columns = self._source.columns
        self.keys = contents.keys
        self.labels = contents.labels
        self.clips = config.clips * config.crops
        self.facts = {"dtype": config.dtype, "max_pixels": config.max_pixels} | root_record(dataset.root)
        if self.clips > 1:
            self.facts |= {"clips": config.clips, "crops": config.crops}
        self._stream: LiveActivations | None = None
        self._open = partial(
            LiveActivations,
            backbone,
            self._source,
            sites=networks.sites,
            preprocessing=networks.preprocessing,
            options=config,
            device=device,
            batch_size=config.batch_size,
            clips=config.clips,
            crops=config.crops,
        )

    @property
    def invalid(self) -> Sequence[str]:
        """See `JudgedImages`."""
        return () if self._stream is None else self._stream.invalid

    def activations(self, first: int) -> ActivationStream:
        """See `JudgedImages`."""
        self._stream = self._open(keys=self.keys[first:])
        return self._stream

    def _contents(self, config: EvaluateConfig) -> SplitContents:
        source, name = self._source, config.eval_split
        parts: dict[str, SplitContents] = {}
        if config.split is not None:
            assert not isinstance(config.split, str), "refused with the options"
            cuts = cut(source, config.split_of, config.split, config.split_seed)
            parts = {part.name: part for part in cuts}
        known = tuple(parts) or source.splits
        if name not in known:
            raise LosaError(
                f"the data set has no split {name!r}; it has: {', '.join(known)}. Choose one with "
                f"eval_split={known[0]}"
            )
        contents = parts[name] if parts else source.contents(name)
        return contents if config.limit is None else limited(contents, config.limit)
