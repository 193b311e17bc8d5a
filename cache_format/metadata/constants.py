"""Constants: frozen arrays stored beside the features, namely codec calibration and final norm."""

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
    """Read the constants named in the identity, as float32 arrays.

    Raises:
        CorruptCache: a name is unknown, or an array does not have the hash in the identity.
    """
    check_constants(metadata)
    return {name: read_constant(metadata, name) for name in metadata.manifest.features.constants}


def read_constant(metadata: CacheMetadata, name: str) -> np.ndarray:
    """Read one of the constants, as a float32 array.

    Raises:
        CorruptCache: the array does not have the hash in the identity.
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
    """Check that the identity names only known constants, and those that its codec needs.

    Raises:
        CorruptCache: a name is unknown or missing.
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
    """Centre and spread in a cache that has lost its manifest, as far as they exist.

    The caller checks them by the identity that they yield: it must be that of the commit records.
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
    """A calibration as constants; empty if the codec has no calibration."""
    return {} if calibration is None else {CENTRE: calibration.centre, SPREAD: calibration.spread}


def calibration_of(constants: Mapping[str, np.ndarray]) -> Calibration | None:
    """The calibration among the constants of a cache; None if the codec has no calibration."""
    if CENTRE not in constants or SPREAD not in constants:
        return None
    return Calibration(constants[CENTRE], constants[SPREAD])
