"""The full contents of a cache except its shards, from which a copy can be made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from losa.cache_format.common.comparison import differences
from losa.cache_format.contents import Placement
from losa.cache_format.errors import IdentityMismatch
from losa.cache_format.manifest import Manifest, has_manifest
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.metadata.index import read_index
from losa.cache_format.reader import Cache
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.survey import Survey, refuse_foreign, stored_segments

_OTHER_DESTINATION = "Choose another destination, or remove this one."


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContents:
    """Everything in a cache except its shards."""

    manifest: Manifest
    """Manifest of the copy. Its records of metadata files are ignored and made again."""
    placement: Placement
    """All segments, and the indices of all splits."""
    constants: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, cache: Cache) -> "CacheContents":
        """The contents of an open cache.

        Raises:
            CorruptCache: keys, labels or an index are damaged.
        """
        return cls(
            manifest=cache.manifest,
            placement=Placement(
                segments=tuple(stored_segments(cache.metadata)),
                indices={record.name: read_index(cache.metadata, record) for record in cache.manifest.splits},
            ),
            constants=cache.constants,
        )

    def survey(self, path: CachePath) -> Survey:
        """Compare the contents with the cache at ``path``, which need not exist.

        Raises:
            IdentityMismatch: the cache has other contents.
            CacheError: the folder is not empty and not a cache.
        """
        wanted = self.manifest
        refuse_foreign(path, wanted.store, wanted.features)
        names = frozenset(segment.name for segment in wanted.segments)
        if not has_manifest(path):
            return Survey(
                metadata=CacheMetadata(path, _without_files(wanted)),
                published=None,
                placement=self.placement,
                restored=_NOTHING,
                damaged={},
                segments=names,
            )
        existing = CacheMetadata.read(path)
        found = differences(_comparable(wanted), _comparable(existing.manifest))
        if found:
            raise IdentityMismatch(path, found, _OTHER_DESTINATION)
        return Survey(
            metadata=existing,
            published=existing.manifest,
            placement=_NOTHING,
            restored=self.placement,
            damaged=existing.damaged_files(),
            segments=names,
        )


_NOTHING = Placement(segments=(), indices={})


def _without_files(manifest: Manifest) -> Manifest:
    return replace(manifest, files={})


def _comparable(manifest: Manifest) -> dict[str, object]:
    content = manifest.to_json()
    return {name: value for name, value in content.items() if name not in ("files", "provenance")}
