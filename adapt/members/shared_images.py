"""Images that splits share, under the same key or as copies under other keys."""

import functools
import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from losa.adapt.config import AdaptConfig
from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.data.split_union import open_union, union_name
from losa.cache_format import Cache, LosaError
from losa.cache_format.manifest import SplitRecord
from losa.cache_format.metadata.index import image_ids

_log = logging.getLogger(__name__)


class SharedImages:
    """Warns of images of a cache that are used twice. Splits are read once, and a warning comes once."""

    def __init__(self) -> None:
        self._read = functools.cache(_StoredImages.read)
        self.warn_of_training = functools.cache(self._warn_of_training)
        self.warn_of_patience = functools.cache(self._warn_of_patience)

    def _warn_of_training(
        self,
        cache: Cache,
        train_splits: tuple[str, ...],
        views: int,
        training: LabelledImages,
        name: str,
        scoring: LabelledImages,
    ) -> None:
        """Warn if images of a scored split, or copies of them, are also trained on."""
        trained = self._read(cache, train_splits, views).at(training.positions)
        shared, copies = self._read(cache, (name,)).at(scoring.positions).found_in(trained)
        if shared.any():
            _log.warning("%d of %d images of %s are also trained on", shared.sum(), len(shared), name)
        if copies.any():
            _log.warning(
                "%d of %d images of %s are byte for byte images of %s under other names, and so trained on",
                copies.sum(),
                len(copies),
                name,
                union_name(train_splits),
            )

    def _warn_of_patience(self, cache: Cache, val_split: str, name: str) -> None:
        """Warn if an epoch or a member is chosen on images that are scored in the end."""
        shared, copies = self._read(cache, (name,)).found_in(self._read(cache, (val_split,)))
        used = int((shared | copies).sum())
        if used:
            _log.warning(
                "%d of %d images of %s are in val_split=%s: what is chosen on them (patience, halve_at) has "
                "too good an accuracy on them",
                used,
                len(shared),
                name,
                val_split,
            )


def refuse_choice_on_scored_images(cache: Cache, config: AdaptConfig) -> None:
    """Refuse splits on which a choice depends that share images with the splits that are scored in the end.

    Copies under other names are told, not refused: many published data sets have a few.

    Raises:
        LosaError: images are shared. The message says how many.
    """
    for option, split in config.deciding_splits:
        for scored in config.eval_splits:
            of, to = cache.manifest.split(split), cache.manifest.split(scored)
            shared = _count_shared(str(cache.path), of, to)
            if shared:
                raise LosaError(
                    f"{cache.path}: {shared} of {of.images} images of {option}={split} are also in "
                    f"eval_split={scored}: with protocol=select images that are scored in the end have no "
                    f"part in the choice. Take another split ({option}=...), or score another one "
                    "(eval_split=...)"
                )


@functools.lru_cache(maxsize=64)  # every job of a sweep asks
def _count_shared(path: str, one: SplitRecord, other: SplitRecord) -> int:
    """Number of images that two splits share; the records stand for the state of the cache."""
    cache = Cache(path)
    shared, copies = _StoredImages.read(cache, (one.name,)).found_in(_StoredImages.read(cache, (other.name,)))
    if copies.any():
        _log.warning(
            "%d of %d images of %s, on which the choice depends, are byte for byte images of %s under other "
            "names",
            copies.sum(),
            len(copies),
            one.name,
            other.name,
        )
    return int(shared.sum())


@dataclass(frozen=True, slots=True, eq=False)
class _StoredImages:
    """What tells images of a cache apart, without the records that an open split holds in memory."""

    ids: Int64[np.ndarray, "images"]
    files: Shaped[np.ndarray, "images"]
    """`Split.source_hashes`."""
    valid: Bool[np.ndarray, "images"]

    @classmethod
    def read(cls, cache: Cache, names: tuple[str, ...], views: int = 1) -> "_StoredImages":
        """The images of a split, or of the union of several."""
        split = open_union(cache, names, views)
        return cls(image_ids(split.index), split.source_hashes, split.valid)

    def at(self, positions: Int64[np.ndarray, "positions"]) -> "_StoredImages":
        """The images at some positions."""
        return _StoredImages(self.ids[positions], self.files[positions], self.valid[positions])

    def found_in(
        self, other: "_StoredImages"
    ) -> tuple[Bool[np.ndarray, "images"], Bool[np.ndarray, "images"]]:
        """Which images are among others, and which are not, but have a copy there."""
        shared = np.isin(self.ids, other.ids)
        copied = np.isin(self.files, other.files[other.valid]) & self.valid
        return shared, copied & ~shared
