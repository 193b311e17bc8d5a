"""The manifest: one JSON file that describes what a cache is and what it holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from losa.cache_format.codecs.compressors import CompressorName
from losa.cache_format.common.fields import STRICT, Count, Name, Sha256
from losa.cache_format.errors import CacheError, CorruptCache
from losa.cache_format.identity import FeatureIdentity
from losa.cache_format.storage.atomic_writes import publish
from losa.cache_format.storage.file_record import FileRecord
from losa.cache_format.storage.paths import CachePath, cannot_read, instead_of_folder
from losa.cache_format.storage.remote import refuse_unreachable
from losa.cache_format.storage.sealed_json import seal, unseal
from losa.cache_format.stores import StoreName, make_store
from losa.cache_format.stores.base import FileName

MANIFEST_NAME = "manifest.json"
FORMAT: Literal["losa-cache"] = "losa-cache"
FORMAT_VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Segment:
    """A list of images that are stored once, in the order of their keys, in consecutive shards."""

    name: Name
    number: Count
    """Number of the segment in split indices. It stays the same when other segments are dropped."""
    images: Annotated[Count, Field(ge=1)]
    """Number of images."""
    keys_sha256: Sha256
    """Hash of the keys in their order."""
    rows_per_shard: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of images in each shard but the last, which may have fewer."""
    labels_sha256: dict[Name, Sha256]
    """Label column -> hash of the segment's labels in it."""

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """The rows of the segment that a shard holds.

        Args:
            shard: number of the shard, from 0.
        """
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.images))


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitRecord:
    """An ordered choice of stored images."""

    name: Name
    images: Annotated[Count, Field(ge=1)]
    keys_sha256: Sha256
    """Hash of the keys in the order of the split."""
    index_sha256: Sha256
    """Hash of the index, which holds the number of a segment and a row for every image."""
    rule: str | None = None
    """How losa chose the images, such as ``split=0.8 split_seed=0``; None if the data set has this split."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LabelColumn:
    """One label for every image; -1 where an image has none."""

    name: Name
    kind: Literal["class"] = "class"
    num_classes: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Size of the label space, which a split need not exhaust; 0 if no image has a label."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of the labels, if known."""

    def __post_init__(self) -> None:
        """Refuse a list of names whose length is not the number of classes.

        Raises:
            ValueError: it is not.
        """
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(
                f"label column {self.name}: {self.num_classes} classes, {len(self.classes)} names"
            )


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Manifest:
    """Description of a cache: its features, segments, splits, labels and files. Valid once constructed."""

    format: Literal["losa-cache"] = FORMAT
    version: Literal[1] = FORMAT_VERSION
    store: StoreName
    compressor: CompressorName | None = None
    """Lossless compression of the codes, image by image."""
    dataset: str
    """Name of the data set, for people."""
    features: FeatureIdentity
    labels: tuple[LabelColumn, ...]
    segments: tuple[Segment, ...]
    splits: tuple[SplitRecord, ...]
    files: dict[FileName, FileRecord]
    """The metadata files: all except shards, commit records and the manifest, relative to the cache."""
    provenance: dict[str, str]
    """Versions, hardware and origin of the weights of the first extraction: shown, but never compared."""

    def __post_init__(self) -> None:
        """Refuse names that are not unique, and segments without exactly the cache's label columns.

        Raises:
            ValueError: there are some.
        """
        for what, names in (
            ("segments", [segment.name for segment in self.segments]),
            ("segments", [str(segment.number) for segment in self.segments]),
            ("splits", [split.name for split in self.splits]),
            ("labels", [column.name for column in self.labels]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: names are not unique: {', '.join(names)}")
        columns = {column.name for column in self.labels}
        for segment in self.segments:
            if segment.labels_sha256.keys() != columns:
                found = ", ".join(sorted(segment.labels_sha256)) or "none"
                expected = ", ".join(sorted(columns)) or "none"
                raise ValueError(f"segment {segment.name}: expected label columns {expected}, found {found}")

    @property
    def arrays(self) -> str:
        """Name of the folder, beside the manifest, that contains the arrays."""
        return make_store(self.store).root

    def split(self, name: str, advice: str = "") -> SplitRecord:
        """The record of a split.

        Args:
            name: name of the split.
            advice: end of the error message: how the caller's user names another split.

        Raises:
            CacheError: there is no such split; those that exist are listed.
        """
        for record in self.splits:
            if record.name == name:
                return record
        known = ", ".join(record.name for record in self.splits) or "none"
        raise CacheError(f"the cache has no split {name!r}; it has: {known}{advice}")

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        return as_json(self)

    def write(self, cache: CachePath) -> None:
        """Publish the manifest in the folder of a cache, in place of an earlier one.

        Args:
            cache: folder of the cache, which exists.
        """
        publish(cache / MANIFEST_NAME, seal(self.to_json()))

    @classmethod
    def read(cls, cache: CachePath) -> "Manifest":
        """Read and validate the manifest of a cache.

        Args:
            cache: folder of the cache.

        Raises:
            CacheError: there is no cache here, it has a version this losa does not know, or it cannot be
                read.
            CorruptCache: the manifest is damaged; every problem is listed.
        """
        path = cache / MANIFEST_NAME
        refuse_unreachable(cache)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            lacks = f"it has no {MANIFEST_NAME}"
            if isinstance(cache, Path) and not cache.is_dir():
                lacks = instead_of_folder(cache)
            raise CacheError(
                f"{cache} is not a cache: {lacks}. losa-extract ... cache=<folder> makes one"
            ) from None
        except OSError as error:
            raise cannot_read(path, error) from error
        try:
            content = unseal(data, path)
        except CorruptCache as error:
            raise CorruptCache(f"{error}. {_NEW_MANIFEST}") from None
        if content.get("format") != FORMAT:
            raise CorruptCache(f"{path}: expected format {FORMAT!r}, found {content.get('format')!r}")
        refuse_other_version(content, path)
        try:
            # From text, not from the parsed values: only in JSON does strict mode accept a list as a tuple.
            # In the order of the file, so that a manifest that is written again changes only where it grows.
            return _ADAPTER.validate_json(json.dumps(content))
        except ValidationError as error:
            problems = [
                f"  {'.'.join(str(part) for part in problem['loc']) or 'manifest'}: {problem['msg']}"
                f" (found {problem['input']!r:.80})"
                for problem in error.errors()
            ]
            raise CorruptCache("\n".join([f"{path} is not a valid manifest:", *problems])) from None


WEIGHTS_ORIGIN = (
    "architecture",
    "requested_backbone",
    "checkpoint",
    "random_weights",
    "revision",
    "pretrained_tag",
)
"""Fields of a provenance that tell where the backbone's weights come from."""
LATER_FIELDS = frozenset(
    {"architecture", "arguments", "decoding", "mixing", "origin", "pooled_from", "rule", "sampling"}
)
"""Optional fields that the first manifests did not have. They are left out where they are None or empty, so
that a manifest without them is written with the bytes that it always had."""


def as_json(record: Any) -> dict[str, Any]:
    """A manifest, or a record in it, as plain JSON values, without unused later fields."""
    return cast(dict[str, Any], _without_unused(asdict(record)))


def _without_unused(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: _without_unused(item)
            for name, item in value.items()
            if name not in LATER_FIELDS or (item is not None and item != {})
        }
    return [_without_unused(item) for item in value] if isinstance(value, list | tuple) else value


def has_manifest(cache: CachePath) -> bool:
    """Whether a folder contains a manifest, valid or not."""
    return (cache / MANIFEST_NAME).exists()


_NEW_MANIFEST = (
    "Move it away and run the losa-extract command that made the cache, with all its splits: it writes a new "
    "manifest and keeps the shards that fit"
)


def refuse_other_version(content: dict[str, Any], path: CachePath) -> None:
    """Refuse a record of another version before its other fields are examined.

    Raises:
        CacheError: its version is not the one this losa reads.
    """
    version = content.get("version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise CacheError(
            f"{path}: format version {version!r}; this losa reads version {FORMAT_VERSION}: "
            "install a newer one"
        )


_ADAPTER = TypeAdapter(Manifest)
