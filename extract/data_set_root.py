"""Names data sets after their folders, and tells two apart that have the same name."""

import hashlib

from losa.cache_format import LosaError
from losa.cache_format.storage.paths import local_path
from losa.cache_format.survey import CacheRequest, Survey

ROOT = "data_set_root"
"""Entry of a cache's provenance: a hash of the data set's folder, which does not give the folder away."""


def folder_of(root: str | None, kind: str) -> str:
    """The default name of a data set: that of its folder, or its kind if there is none.

    >>> folder_of("/data/my photos", "folder"), folder_of("s3://bucket/pets/", "webdataset")
    ('my photos', 'pets')
    """
    if root is None:
        return kind
    return _place(root).rstrip("/").rpartition("/")[2] or kind


def root_record(root: str | None) -> dict[str, str]:
    """The entry of a data set for the provenance; empty if it is not in a folder."""
    if root is None:
        return {}
    place = _place(root)
    return {ROOT: hashlib.blake2b(place.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()}


def refuse_other_root(surveyed: Survey, request: CacheRequest) -> None:
    """Refuse images from another folder than those of the cache, of which the cache has none.

    A data set that was moved shows by images that the cache has; their bytes are compared elsewhere.

    Raises:
        LosaError: it may be another data set; the message says what to do in either case.
    """
    published = surveyed.published
    if published is None:
        return
    here, there = request.provenance.get(ROOT), published.provenance.get(ROOT)
    if here is None or there is None or here == there:
        return
    requested = {key for split in request.splits for key in split.keys}
    if sum(entry.segment.images for entry in surveyed.placement.segments) < len(requested):
        return
    known = ",".join(record.name for record in published.splits)
    raise LosaError(
        f"{surveyed.metadata.path} was begun from another dataset.root, and has none of the requested "
        "images. If this is another data set, give it a name of its own: dataset.name=... . If the data set "
        f"was moved, request a split that the cache has as well: splits=[{known},...]"
    )


def _place(root: str) -> str:
    """The URL, or the path from the root of the file system."""
    return root if "://" in root else str(local_path(root).resolve())
