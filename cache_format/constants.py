"""Frozen arrays that stand in the cache beside the features: codec calibration, the final norm."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from losa.cache_format.codecs import Calibration
from losa.cache_format.errors import CorruptCache
from losa.cache_format.identity import FeatureIdentity, hash_array
from losa.cache_format.paths import constants_folder
from losa.cache_format.zarr_layout import read_array, write_array, write_group

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


def write_constants(cache: Path, constants: Mapping[str, np.ndarray]) -> None:
    """Write float32 arrays as zarr arrays of the group ``constants``."""
    write_group(constants_folder(cache))
    for name, array in constants.items():
        write_array(constants_folder(cache) / name, array.astype(np.float32), _AXES[name])


def read_constants(cache: Path, features: FeatureIdentity) -> dict[str, np.ndarray]:
    """The constants named in the identity, as float32.

    Raises:
        CorruptCache: an unknown name, or an array whose hash is not the identity's.
    """
    lengths = {"sites": len(features.group.sites), "width": features.group.width}
    constants = {}
    for name, expected in features.constants.items():
        folder = constants_folder(cache) / name
        if name not in _AXES:
            raise CorruptCache(f"{folder}: the manifest names a constant that format version 1 does not have")
        array = read_array(folder, "float32", [lengths[axis] for axis in _AXES[name]])
        if hash_array(array) != expected:
            raise CorruptCache(f"{folder}: not the array whose hash stands in the manifest")
        constants[name] = array
    return constants


def calibration_of(constants: Mapping[str, np.ndarray]) -> Calibration | None:
    """The codec's calibration, if the cache has one."""
    if CENTRE not in constants:
        return None
    return Calibration(constants[CENTRE], constants[SPREAD])
