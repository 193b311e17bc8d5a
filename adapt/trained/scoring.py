"""Class scores of trained side networks, batch by batch, for activations from anywhere."""

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from losa.adapt.data.activations import CachedActivations, read_ahead
from losa.adapt.data.order import ordered_batches
from losa.adapt.trained.micro_batches import MicroBatches
from losa.adapt.trained.stacked import StackedSideNetworks
from losa.cache_format import Cache, LosaError
from losa.cache_format.common.comparison import differences, listed


class ActivationBatch(NamedTuple):
    """Activations of some images, on the compute device."""

    keys: Sequence[str]
    """Keys of the images."""
    activations: Float[Tensor, "images sites tokens width"]


class ScoredBatch(NamedTuple):
    """Class scores of some images."""

    keys: Sequence[str]
    """Keys of the images."""
    scores: tuple[Float[Tensor, "images _"], ...]
    """Class scores of each side network, float32 ``(images, classes)``, over all its label columns, which
    `losa.adapt.StackedSideNetworks.columns` lists."""


@runtime_checkable  # so that beartype can check it while the tests run
class ActivationStream(Protocol):
    """Activations of images, batch by batch, on the compute device: from a cache, or from a live backbone."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names along the sites axis."""

    def __iter__(self) -> Iterator[tuple[Sequence[str], Tensor]]:
        """The batches, in order: keys and activations, as in `ActivationBatch`.

        Images that cannot be decoded are left out, so a batch may be empty.
        """


class CachedStream:
    """The valid images of a split of a cache, or some of them, in order; an `ActivationStream`.

    Attributes:
        sites: names along the sites axis.
    """

    def __init__(
        self,
        cache: Cache,
        split: str,
        networks: StackedSideNetworks,
        *,
        device: str = "cpu",
        batch_size: int = 64,
        positions: Int64[np.ndarray, "_"] | None = None,
    ) -> None:
        """Open the split.

        Args:
            cache: the cache.
            split: name of the split.
            networks: the side networks that are to read it; only their sites are read.
            device: the compute device, as torch names it.
            batch_size: images per batch, at least 1; the last one may have fewer.
            positions: positions in the split of the images to read, all valid; None: every valid one.

        Raises:
            LosaError: there is no such split, or it is not all extracted, or the cache is damaged, of another
                backbone or other inputs, or it lacks a site.
        """
        refuse_other_cache(cache, networks)
        self.sites = networks.sites
        opened = cache.split(split, self.sites)
        self._source = CachedActivations(opened, device)
        self._keys = opened.keys
        self._positions = np.flatnonzero(opened.valid) if positions is None else positions
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Number of images."""
        return len(self._positions)

    def __iter__(self) -> Iterator[ActivationBatch]:
        """The batches, in order; see `ActivationStream`.

        Raises:
            CacheError: a file cannot be read.
            CorruptCache: bytes do not fit their checksum.
        """
        batches = [self._positions[rows] for rows in ordered_batches(len(self), self._batch_size)]
        for positions, batch in zip(batches, read_ahead(self._source, batches), strict=True):
            keys = [self._keys[position] for position in positions]
            yield ActivationBatch(keys, batch.decode(slice(None)))


def score(networks: StackedSideNetworks, source: ActivationStream) -> Generator[ScoredBatch, None, None]:
    """Class scores of side networks for the images of a source, in float32; no gradients are kept.

    Args:
        networks: the side networks, on the compute device.
        source: the activations, on the same device.

    Yields:
        Keys and scores of each batch that is not empty, in the order of the source.

    Raises:
        LosaError: the activations do not fit the networks, or cannot be read.
        torch.cuda.OutOfMemoryError: the memory is too small for a single image.
    """
    compute = MicroBatches(networks)
    for keys, activations in source:
        if keys:  # all images of a batch may be invalid
            yield ScoredBatch(keys, compute(activations, source.sites))


def refuse_other_cache(cache: Cache, networks: StackedSideNetworks) -> None:
    """Refuse a cache whose activations are not those that the side networks were trained on.

    The codec may be another one: what it rounds is no part of what an activation means.

    Raises:
        LosaError: backbone, preprocessing or tokens differ, or a site is missing.
    """
    found = cache.manifest.features
    facts = [
        {"backbone": each.backbone, "preprocessing": each.preprocessing, "tokens": tokens}
        for each, tokens in ((networks, networks.tokens), (found, found.group.tokens))
    ]
    if different := differences(*facts):
        raise LosaError(
            f"{cache.path} holds other features than these side networks read:\n{listed(different)}"
        )
    if missing := [site for site in networks.sites if site not in cache.sites]:
        raise LosaError(
            f"{cache.path}: the side networks read {', '.join(missing)}, which it lacks; it has "
            f"{', '.join(cache.sites)}"
        )
