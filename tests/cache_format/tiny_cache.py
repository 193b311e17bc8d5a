"""A tiny cache and all its parts, from which the tests of the cache format are built.

``conftest.py`` provides it as fixtures; child processes, which have no fixtures, import this file.
Everything is a pure function of a `Recipe`, as a shard is a pure function of the manifest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from losa.cache_format import (
    CacheRequest,
    CacheWriter,
    Calibration,
    Codes,
    FeatureIdentity,
    LabelColumn,
    Manifest,
    Segment,
    SiteStatistics,
    SplitContents,
    calibrate,
    make_codec,
)
from losa.cache_format.codecs import CodecName, code_layout, needs_calibration
from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.identity import BackboneIdentity, FinalNorm, Preprocessing, SiteGroup, TokenLayout
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT, calibration_constants
from losa.cache_format.metadata.keys import read_keys
from losa.cache_format.shards.segment_files import SegmentFiles
from losa.cache_format.shards.shard_images import SOURCE_HASH_BYTES
from losa.cache_format.shards.shard_writer import ShardWriter
from losa.cache_format.storage.atomic_writes import publish_files
from losa.cache_format.storage.file_record import record_of
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.stores import StoreName, make_store
from losa.cache_format.stores.base import MetadataArray

TRAIN = tuple(f"train/{number:02d}.jpg" for number in range(7))
VAL = tuple(f"val/größe {number}.jpg" for number in range(4))
TRAINVAL = tuple((TRAIN + VAL)[place] for place in (9, 0, 6, 3, 10, 1, 8, 2, 5, 7, 4))


@dataclass(frozen=True)
class Recipe:
    """The parameters of a tiny cache; ``dataclasses.replace`` changes them."""

    codec: CodecName = "int8"
    store: StoreName = "zarr"
    compressor: CompressorName | None = None
    splits: tuple[tuple[str, tuple[str, ...]], ...] = (("train", TRAIN), ("val", VAL))
    sites: tuple[str, ...] = ("block.00", "block.02", "block.05")
    width: int = 6
    rows_per_shard: int = 3
    invalid: frozenset[str] = frozenset()
    seed: int = 0

    tokens = TokenLayout(cls=1, registers=1, grid=(2, 1))
    columns = (
        LabelColumn(name="species", num_classes=5, classes=("ant", "bee", "cat", "dog", "elk")),
        LabelColumn(name="colour", num_classes=300),
    )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image: sites, tokens, width."""
        return (len(self.sites), self.tokens.count, self.width)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every image once, in the order in which it is stored."""
        return tuple(dict.fromkeys(key for _, keys in self.splits for key in keys))

    def activations(self, keys: Sequence[str]) -> np.ndarray:
        """float32 (images, sites, tokens, width); one channel is a thousand times wider than the rest."""
        images = np.empty((len(keys), *self.image_shape), np.float32)
        for image, key in zip(images, keys, strict=True):
            rng = np.random.default_rng([self.seed, *key.encode()])
            image[:] = rng.normal(loc=0.5, size=self.image_shape)
        images[..., self.width // 2] *= 1000
        return images

    def labels(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Labels from -1 to 4 and from -1 to 299; -1 is no label."""
        numbers = np.array([int.from_bytes(blake2b(key.encode()).digest()[:4]) for key in keys], np.int64)
        return {"species": numbers % 6 - 1, "colour": numbers % 301 - 1}

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration on all images; None if the codec has none."""
        return calibrate(self.activations(self.keys)) if needs_calibration(self.codec) else None

    @cached_property
    def constants(self) -> dict[str, np.ndarray]:
        """The final norm, and the calibration if there is one."""
        return {
            NORM_WEIGHT: np.linspace(1, 2, self.width, dtype=np.float32),
            NORM_BIAS: np.linspace(-1, 0, self.width, dtype=np.float32),
            **calibration_constants(self.calibration),
        }

    @property
    def features(self) -> FeatureIdentity:
        """The feature identity."""
        return FeatureIdentity(
            backbone=BackboneIdentity(name="vit_nano.none", weights_sha256="5a" * 32, depth=6),
            preprocessing=Preprocessing(
                input_size=(3, 32, 16),
                interpolation="bicubic",
                mean=(0.5, 0.25, 0.125),
                std=(0.1, 0.2, 0.3),
                crop_pct=0.9,
                crop_mode="center",
            ),
            site_groups=(SiteGroup(sites=self.sites, tokens=self.tokens, width=self.width),),
            compute_dtype="float32",
            codec=self.codec,
            final_norm=FinalNorm(kind="layer_norm", eps=1e-6),
            constants={name: hash_array(array) for name, array in self.constants.items()},
        )

    def contents(self, name: str) -> SplitContents:
        """The contents of one split."""
        keys = dict(self.splits)[name]
        return SplitContents(name=name, keys=keys, labels=self.labels(keys))

    def files(self, path: CachePath, segment: str) -> SegmentFiles:
        """The files of a segment of the written cache."""
        metadata = CacheMetadata.read(path)
        (found,) = [one for one in metadata.manifest.segments if one.name == segment]
        return SegmentFiles.of(metadata, found)

    def array_file(self, name: str, axes: int = 1) -> str:
        """The file with the values of a metadata array, relative to the cache."""
        store = make_store(self.store)
        return f"{store.root}/{store.array_file(name, axes)}"

    def open(self, path: CachePath, **changes: object) -> CacheWriter:
        """The writer of this cache; ``changes`` replace its arguments."""
        constants = changes.pop("constants", self.constants)
        return CacheWriter(path, self.request(**changes), constants)

    def request(self, **changes: object) -> CacheRequest:
        """The request for this cache; ``changes`` replace its fields."""
        arguments = {
            "dataset": "zoo",
            "features": self.features,
            "labels": self.columns,
            "splits": [self.contents(name) for name, _ in self.splits],
            "rows_per_shard": self.rows_per_shard,
            "provenance": {"losa": "0.1.0"},
            "store": self.store,
            "compressor": self.compressor,
        }
        return CacheRequest(**(arguments | changes))

    def write(self, path: CachePath) -> CachePath:
        """Write every shard that is missing."""
        with self.open(path) as writer:
            for segment, shard in writer.missing():
                self.write_shard(writer, segment, shard)
        return path

    def write_shard(self, writer: CacheWriter, segment: Segment, shard: int, batch: int = 2) -> None:
        """Write one shard in batches."""
        keys = read_keys(writer.metadata, segment)
        rows = segment.rows(shard)
        with writer.shard(segment, shard) as out:
            for start in rows[::batch]:
                self.append(out, keys[start : min(start + batch, rows.stop)])

    def append(self, out: ShardWriter, keys: Sequence[str]) -> None:
        """Append some images to a shard."""
        valid = [key for key in keys if key not in self.invalid]
        codes = self.encode(valid)
        outcomes = [f"cannot decode {key}" if key in self.invalid else source_hash(key) for key in keys]
        out.append(codes, outcomes, self.statistics(valid) if valid else [])

    def encode(self, keys: Sequence[str]) -> Codes:
        """Codes of valid images."""
        return make_codec(self.codec, self.calibration).encode(self.activations(keys))

    def stored(self, keys: Sequence[str]) -> Codes:
        """Codes that must be read from the cache: zeros for invalid images."""
        codes = self.encode(keys)
        rows = [row for row, key in enumerate(keys) if key in self.invalid]
        codes.values[rows] = 0
        if codes.scales is not None:
            codes.scales[rows] = 0
        assert codes.values.dtype == code_layout(self.codec, self.width).dtype
        return codes

    def statistics(self, keys: Sequence[str]) -> list[SiteStatistics]:
        """Statistics of every site over the given images."""
        activations = self.activations(keys).astype(np.float64)
        decoded = make_codec(self.codec, self.calibration).decode(self.encode(keys))
        return [
            SiteStatistics(
                count=activations[:, site].size,
                minimum=float(activations[:, site].min()),
                maximum=float(activations[:, site].max()),
                sum_squares=float((activations[:, site] ** 2).sum()),
                error_sum_squares=float(((decoded - activations)[:, site] ** 2).sum()),
            )
            for site in range(len(self.sites))
        ]


def write_arrays(path: Path, store: StoreName, arrays: Mapping[str, MetadataArray]) -> CacheMetadata:
    """Publish metadata arrays without a cache around them; the manifest records their files and no more."""
    files = {
        f"{make_store(store).root}/{file}": content
        for name, array in arrays.items()
        for file, content in make_store(store).array_files(name, array).items()
    }
    publish_files(path, files)
    manifest = Manifest(
        store=store,
        dataset="zoo",
        features=Recipe().features,
        labels=(),
        segments=(),
        splits=(),
        files={name: record_of(content) for name, content in files.items()},
        provenance={},
    )
    return CacheMetadata(path, manifest)


def forge(path: Path, name: str, array: MetadataArray) -> None:
    """Replace an array in a cache together with its record, so that only its meaning is wrong."""
    manifest = Manifest.read(path)
    store = make_store(manifest.store)
    files = {f"{store.root}/{file}": content for file, content in store.array_files(name, array).items()}
    publish_files(path, files)
    records = {file: record_of(content) for file, content in files.items()}
    replace(manifest, files=manifest.files | records).write(path)


def source_hash(key: str) -> bytes:
    """A made-up source hash of an image."""
    return blake2b(key.encode(), digest_size=SOURCE_HASH_BYTES).digest()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: relative path -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def flip(path: Path, byte: int, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def assert_same_codes(found: Codes, expected: Codes) -> None:
    """Assert that codes are equal in dtype, shape and every bit."""
    for mine, theirs in ((found.values, expected.values), (found.scales, expected.scales)):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            assert mine.tobytes() == theirs.tobytes()
