"""The activations that the members of a pass read."""

import logging
from collections.abc import Sequence
from typing import Literal

from losa.adapt.data.activations import ActivationSource, CachedActivations
from losa.adapt.data.labelled_activations import LabelledActivations
from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.data.residency import Residency, choose_residency
from losa.adapt.data.resident_activations import load_codes
from losa.adapt.data.split_union import open_union, union_name
from losa.adapt.free_memory import is_out_of_memory
from losa.adapt.members.preparation import PreparedJob
from losa.cache_format import LosaError

_log = logging.getLogger(__name__)


class PassData:
    """Opens the splits of a pass, with the sites of all its members together.

    Attributes:
        residency: where the codes of the training split are kept, once `load_training` has chosen it.
    """

    def __init__(self, prepared: Sequence[PreparedJob]) -> None:
        """Open nothing yet.

        Args:
            prepared: the members, of one `pass_key`.
        """
        first = prepared[0]
        self.residency: Residency = "stream"
        self._config, self._cache, self._device = first.config, first.cache, first.device
        self._training, self._scored = first.training, first.scored
        used = {site for member in prepared for site in member.features.sites}
        self._sites = tuple(site for site in self._cache.sites if site in used)

    @property
    def image_counts(self) -> dict[str, int]:
        """Number of images used of the training split and of each scored split."""
        images = {union_name(self._config.training_splits): self._training, **self._scored}
        return {split: len(found) for split, found in images.items()}

    def load_training(self) -> LabelledActivations:
        """The training split, its codes loaded if they are to stay in memory."""
        source = self._open(self._config.training_splits, self._config.views)
        kept, self.residency = self._kept(source, self._training, self._config.residency)
        return self._labelled(source.split.name, kept, self._training)

    def load_validation(self, split: str) -> LabelledActivations:
        """A split to score after each epoch, its codes loaded if they fit beside those of the training split.

        They are not with ``residency=stream``.
        """
        source, images = self._open((split,), 1), self._scored[split]
        kept, _ = self._kept(source, images, "stream" if self._config.residency == "stream" else "auto")
        return self._labelled(split, kept, images)

    def open_scored(self, split: str) -> LabelledActivations:
        """A split to score once."""
        return self._labelled(split, self._open((split,), 1), self._scored[split])

    def _kept(
        self, source: CachedActivations, images: LabelledImages, requested: Residency | Literal["auto"]
    ) -> tuple[ActivationSource, Residency]:
        """The source of the codes of a split, which may be in memory, and where they are."""
        positions = images.all_positions
        residency = choose_residency(
            requested,
            source.split,
            images=len(positions),
            epochs=self._config.trained_epochs,
            device=self._device,
        )
        if residency == "stream":
            return source, residency
        try:
            return load_codes(source, positions, residency), residency
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if requested != "auto":
            raise LosaError(
                f"residency={requested}: memory does not hold the codes of {len(positions):,} images after "
                "all; use residency=auto or stream, or fewer sites (sites=4)"
            )
        _log.warning(
            "memory does not hold the codes of split %r after all: they are read in every epoch",
            source.split.name,
        )
        return source, "stream"

    def _open(self, splits: Sequence[str], views: int) -> CachedActivations:
        return CachedActivations(open_union(self._cache, splits, views, self._sites), self._device)

    def _labelled(self, split: str, source: ActivationSource, images: LabelledImages) -> LabelledActivations:
        return LabelledActivations(source=source, images=images, sites=self._sites, name=f"split {split!r}")
