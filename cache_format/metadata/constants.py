"""Frozen arrays that stand in the cache beside the features: codec calibration, the final norm."""

from collections.abc import Mapping

import numpy as np

from losa.cache_format.codecs import Calibration, needs_calibration
from losa.cache_format.common.hashes import hash_array
from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import SiteGroup
from losa.cache_format.metadata.cache_metadata import CacheMetadata
from losa.cache_format.storage.paths import CachePath
from losa.cache_format.storage.remote import size_of
from losa.cache_format.stores import Store
from losa.cache_format.stores.base import MetadataArray

CENTRE = "centre"
SPREAD = "spread"
NORM_WEIGHT = "final_norm.weight"
NORM_BIAS = "final_norm.bias"

_AXES = {
    CENTRE: ("sites", "width"),
    SPREAD: ("sites", "width"),
    NORM_WEIGHT: ("width",),
    NORM_BIAS: ("width",),
}


def constant_arrays(constants: Mapping[str, np.ndarray]) -> dict[str, MetadataArray]:
    """The constants as float32 arrays ``constants/<name>``."""
    return {
        f"constants/{name}": MetadataArray(array.astype(np.float32), _AXES[name])
        for name, array in constants.items()
    }


def read_constants(metadata: CacheMetadata) -> dict[str, np.ndarray]:
    """The constants named in the identity, as float32.

    Raises:
        CorruptCache: an unknown name, or an array whose hash is not the identity's.
    """
    check_constants(metadata)
    return {name: read_constant(metadata, name) for name in metadata.manifest.features.constants}


def read_constant(metadata: CacheMetadata, name: str) -> np.ndarray:
    """One of the constants.

    Raises:
        CorruptCache: an array whose hash is not the identity's.
    """
    features = metadata.manifest.features
    group = features.group
    lengths = {"sites": len(group.sites), "width": group.width}
    shape = [lengths[axis] for axis in _AXES[name]]
    array = metadata.read_array(f"constants/{name}", "float32", shape)
    if hash_array(array) != features.constants[name]:
        raise CorruptCache(
            f"{metadata.path}: constant {name!r} is not the array whose hash is in the manifest"
        )
    if not np.isfinite(array).all() or (name == SPREAD and array.min() <= 0):
        raise CorruptCache(f"{metadata.path}: constant {name!r} has values that no writer writes")
    return array


def constant_file(metadata: CacheMetadata, name: str) -> str:
    """The file with a constant's values, relative to the cache."""
    return metadata.array_file(f"constants/{name}", len(_AXES[name]))


def check_constants(metadata: CacheMetadata) -> None:
    """Make sure that the identity names known constants, and those that its codec needs.

    Raises:
        CorruptCache: it does not.
    """
    features = metadata.manifest.features
    for name in features.constants:
        if name not in _AXES:
            raise CorruptCache(
                f"{metadata.path}: the manifest names a constant {name!r} that format version 1 does not have"
            )
    missing = {CENTRE, SPREAD} - features.constants.keys() if needs_calibration(features.codec) else set()
    if missing:
        raise CorruptCache(
            f"{metadata.path}: codec {features.codec} needs constants that the manifest does not name: "
            f"{', '.join(sorted(missing))}"
        )


def orphaned_calibration(cache: CachePath, store: Store, group: SiteGroup) -> dict[str, np.ndarray]:
    """Centre and spread of a cache that has lost its manifest, if they stand there.

    Whether they are right is told by the identity that they give.
    """
    shape = (len(group.sites), group.width)
    size = 4 * shape[0] * shape[1]
    found = {}
    for name in (CENTRE, SPREAD):
        path = cache / store.root / store.array_file(f"constants/{name}", len(shape))
        values = store.array_bytes(path.read_bytes(), size) if size_of(path) else b""
        if len(values) == size:
            found[name] = np.frombuffer(values, "<f4").reshape(shape)
    return found


def calibration_constants(calibration: Calibration | None) -> dict[str, np.ndarray]:
    """A calibration as constants; none if the codec has no calibration."""
    return {} if calibration is None else {CENTRE: calibration.centre, SPREAD: calibration.spread}


def calibration_of(constants: Mapping[str, np.ndarray]) -> Calibration | None:
    """The codec's calibration, if the cache has one."""
    if CENTRE not in constants or SPREAD not in constants:
        return None
    return Calibration(constants[CENTRE], constants[SPREAD])
