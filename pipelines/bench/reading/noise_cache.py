"""Caches of noise in the shape of real ones, which take the same time to read."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from losa.cache_format import (
    Cache,
    CacheError,
    CacheRequest,
    CacheWriter,
    Calibration,
    Codes,
    FeatureIdentity,
    LabelColumn,
    SplitContents,
    make_codec,
)
from losa.cache_format.codecs import CodecName, code_layout, needs_calibration
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.common.progress import progress_bar
from losa.cache_format.common.units import readable
from losa.cache_format.identity import BackboneIdentity, Preprocessing, SiteGroup, TokenLayout
from losa.cache_format.metadata.constants import calibration_constants
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES
from losa.cache_format.shards.statistics import NO_VALUES
from losa.cache_format.storage.free_space import free_disk_bytes
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.stores import StoreName, make_store
from losa.cache_format.stores.base import ShardGeometry

SPLIT = "train"
LABEL = "label"
ROWS_PER_SHARD = 64
"""The default of losa-extract."""
DISK_MARGIN = 1.05
"""Ratio of the free space that is required to the size of the caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Shape of an image's activations. The default is that of a ViT-B/16 at 224 pixels."""

    sites: int = 12
    grid: tuple[int, int] = (14, 14)
    width: int = 768

    @property
    def tokens(self) -> int:
        """A class token and the grid."""
        return 1 + self.grid[0] * self.grid[1]

    def __str__(self) -> str:
        return f"{self.sites} x {self.tokens} x {self.width}"


@dataclass(frozen=True)
class NoiseCache:
    """A cache of noise. Its contents are a function of these fields."""

    path: Path
    codec: CodecName
    store: StoreName
    images: int
    shape: Shape = Shape()
    classes: int = 0
    """Number of classes of the label column `LABEL`; 0 for no labels."""

    different = 16
    """Number of images that are drawn. The others are copies of them, rolled along sites and tokens."""

    @classmethod
    def of_size(
        cls, folder: Path, codec: CodecName, store: StoreName, least: float, shape: Shape
    ) -> "NoiseCache":
        """Return the smallest cache below ``folder`` whose codes and scales have at least ``least`` bytes."""
        image = cls(folder, codec, store, 1, shape).image_bytes
        images = max(1, -int(-least // image))
        lengths = f"{images}x{shape.sites}x{shape.tokens}x{shape.width}"
        return cls(folder / f"{store}-{codec}-{lengths}", codec, store, images, shape)

    @property
    def image_bytes(self) -> int:
        """Bytes of the codes and scales of an image."""
        return self._geometry.stored_image_bytes

    @property
    def bytes(self) -> int:
        """Bytes of all codes and scales."""
        return self.images * self.image_bytes

    @property
    def space(self) -> int:
        """Upper bound of the bytes that are missing on the disk."""
        if self.path.exists():  # opening it for writing shows whether it is complete
            return 0
        shards = -(-self.images // self._geometry.rows_per_shard)
        return shards * make_store(self.store).shard_bytes(self._geometry, 0)

    def image(self, index: int) -> Codes:
        """Codes and scales of one image."""
        drawn = self._drawn
        which, turn = index % self.different, index // self.different
        values, scales = drawn.values, drawn.scales
        return Codes(
            _rolled(values[[which]], turn), None if scales is None else _rolled(scales[[which]], turn)
        )

    def write(self) -> Cache:
        """Write the missing shards of the cache.

        Raises:
            IdentityMismatch: another cache is at the path.
            CacheError: the disk is full.
        """
        with CacheWriter(self.path, self.request, self.constants) as writer:
            missing = writer.missing()
            with progress_bar(len(missing), f"writing {self.path.name}", "shards", leave=False) as bar:
                for segment, shard in missing:
                    with writer.shard(segment, shard) as out:
                        for row in segment.rows(shard):
                            out.append(
                                self.image(row), [bytes(SOURCE_HASH_BYTES)], [NO_VALUES] * self.shape.sites
                            )
                    bar.update()
        return Cache(self.path)

    def warm(self) -> None:
        """Read every file into the page cache."""
        memory = bytearray(1 << 24)
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    while file.readinto(memory):
                        pass

    def remove(self) -> None:
        """Delete the cache."""
        shutil.rmtree(self.path)

    @cached_property
    def _geometry(self) -> ShardGeometry:
        return ShardGeometry(
            images=self.images,
            rows_per_shard=min(self.images, ROWS_PER_SHARD),
            sites=self.shape.sites,
            tokens=self.shape.tokens,
            layout=code_layout(self.codec, self.shape.width),
            compressor=None,
        )

    @cached_property
    def _calibration(self) -> Calibration | None:
        if not needs_calibration(self.codec):
            return None
        shape = (self.shape.sites, self.shape.width)
        return Calibration(np.zeros(shape, np.float32), np.ones(shape, np.float32))

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """The arrays whose hashes are in the request."""
        return calibration_constants(self._calibration)

    @cached_property
    def _drawn(self) -> Codes:
        rng = np.random.default_rng(0)
        shape = (min(self.images, self.different), self.shape.sites, self.shape.tokens, self.shape.width)
        return make_codec(self.codec, self._calibration).encode(rng.standard_normal(shape, np.float32))

    @property
    def request(self) -> CacheRequest:
        """The request that the cache meets."""
        shape = self.shape
        group = SiteGroup(
            sites=tuple(f"block.{site:02d}" for site in range(shape.sites)),
            tokens=TokenLayout(cls=1, registers=0, grid=shape.grid),
            width=shape.width,
        )
        features = FeatureIdentity(
            backbone=BackboneIdentity(name="noise", weights_sha256="0" * 64, depth=shape.sites),
            preprocessing=Preprocessing(
                input_size=(3, 16 * shape.grid[0], 16 * shape.grid[1]),
                interpolation="bicubic",
                mean=(0.5, 0.5, 0.5),
                std=(0.5, 0.5, 0.5),
                crop_pct=0.9,
                crop_mode="center",
            ),
            site_groups=(group,),
            compute_dtype="float32",
            codec=self.codec,
            final_norm=None,
            constants={name: hash_array(array) for name, array in self.constants.items()},
        )
        keys = [str(index) for index in range(self.images)]
        labels = {LABEL: np.arange(self.images) % self.classes} if self.classes else {}
        return CacheRequest(
            dataset="noise",
            features=features,
            labels=[LabelColumn(name=name, num_classes=self.classes) for name in labels],
            splits=[SplitContents(name=SPLIT, keys=keys, labels=labels)],
            rows_per_shard=ROWS_PER_SHARD,
            provenance={},
            store=self.store,
        )


def refuse_if_disk_is_short(folder: CachePath, needed: int) -> None:
    """Refuse to write caches that do not fit on the disk.

    Raises:
        CacheError: with the sizes, and advice how to need less space.
    """
    free = free_disk_bytes(folder)
    if free is not None and needed * DISK_MARGIN > free:
        raise CacheError(
            f"not enough space: {readable(needed)} are needed in {folder}, {readable(free)} are free. Take a "
            "smaller --gigabytes, or a --folder on another disk"
        )


def _rolled(array: np.ndarray, turn: int) -> np.ndarray:
    tokens = array.reshape(-1, array.shape[-1])
    return np.roll(tokens, turn, axis=0).reshape(array.shape)
