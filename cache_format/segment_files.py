"""Where the files of a segment stand, and how many bytes each has."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from losa.cache_format.codecs import StorageDtype, has_scales, storage_dtype
from losa.cache_format.commit import Commit
from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import CodecName, SiteGroup, differences
from losa.cache_format.manifest import Manifest, Segment
from losa.cache_format.paths import segment_folder
from losa.cache_format.zarr_layout import CHECKSUM_BYTES, ShardLayout, chunk_name

SCALE_DTYPE = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class SegmentFiles:
    """Paths and byte sizes of one segment of a cache. Pure arithmetic but for `commit`."""

    cache: Path
    segment: Segment
    group: SiteGroup
    codec: CodecName
    features_sha256: str

    @classmethod
    def of(cls, cache: Path, manifest: Manifest, segment: Segment) -> "SegmentFiles":
        """The files of a segment of a cache."""
        features = manifest.features
        return cls(cache, segment, features.group, features.codec, features.sha256)

    @property
    def storage(self) -> StorageDtype:
        """Dtype of the stored codes."""
        return storage_dtype(self.codec)

    @property
    def scaled(self) -> bool:
        """Whether there are scales."""
        return has_scales(self.codec)

    @property
    def folder(self) -> Path:
        """The segment's zarr group."""
        return segment_folder(self.cache, self.segment.name)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, sites, tokens, width."""
        return (self.segment.images, len(self.group.sites), self.group.tokens.count, self.group.width)

    @property
    def site_bytes(self) -> int:
        """Codes of one site of one image."""
        return self.shape[2] * self.shape[3] * np.dtype(self.storage).itemsize

    @property
    def image_bytes(self) -> int:
        """Codes of one image."""
        return self.site_bytes * self.shape[1]

    @property
    def site_scale_bytes(self) -> int:
        """Scales of one site of one image."""
        return self.shape[2] * SCALE_DTYPE.itemsize if self.scaled else 0

    @property
    def layout(self) -> ShardLayout:
        """Byte places inside a shard of codes."""
        return ShardLayout(self.segment.rows_per_shard, self.image_bytes)

    def codes_path(self, shard: int) -> Path:
        """File with the codes of a shard."""
        return self.folder / "codes" / chunk_name(shard, 0, 0, 0)

    def scales_path(self, shard: int) -> Path:
        """File with the scales of a shard."""
        return self.folder / "scales" / chunk_name(shard, 0, 0)

    def commit_path(self, shard: int) -> Path:
        """The commit record of a shard: in the array's folder, where zarr readers do not list files."""
        return self.folder / "codes" / f"commit.{shard}.json"

    def sizes(self, shard: int) -> dict[Path, int]:
        """Files of a shard and the bytes each must have."""
        sizes = {self.codes_path(shard): self.layout.file_bytes(len(self.segment.rows(shard)))}
        if self.scaled:
            full = self.segment.rows_per_shard * self.shape[1] * self.site_scale_bytes
            sizes[self.scales_path(shard)] = full + CHECKSUM_BYTES
        return sizes

    def recorded_sizes(self, shard: int) -> dict[str, int]:
        """The same as a commit record has them: array -> bytes of the shard's file in it."""
        return {path.parent.name: size for path, size in self.sizes(shard).items()}

    def commit(self, shard: int) -> Commit:
        """The commit record of a shard, after its files were found to have the right sizes.

        Raises:
            FileNotFoundError: the shard was not committed.
            CorruptCache: the record is damaged or belongs elsewhere, or a file has another size.
        """
        path = self.commit_path(shard)
        commit = Commit.read(path)
        belongs = {
            "features": self.features_sha256,
            "segment": self.segment.name,
            "keys": self.segment.keys_sha256,
            "shard": shard,
            "rows": len(self.segment.rows(shard)),
            "sites": len(self.group.sites),
            "sizes": self.recorded_sizes(shard),
        }
        found = {
            "features": commit.features_sha256,
            "segment": commit.segment,
            "keys": commit.segment_keys_sha256,
            "shard": commit.shard,
            "rows": commit.rows,
            "sites": len(commit.statistics),
            "sizes": commit.sizes,
        }
        wrong = differences(belongs, found)
        if wrong:
            listed = ", ".join(f"{field} {expected!r}, found {other!r}" for field, expected, other in wrong)
            raise CorruptCache(f"{path} is the record of another shard: expected {listed}")
        for file, size in self.sizes(shard).items():
            actual = file.stat().st_size if file.exists() else "no file"
            if actual != size:
                raise CorruptCache(f"{file}: expected {size} bytes, found {actual}")
        return commit
