"""Which calibration an extraction works with; what happens to whole caches is in test_extraction.py."""

import numpy as np
import pytest

from losa.extract import extract
from losa.extract.extraction import Extractor


def calibrator(config):
    return Extractor(config).calibrator


def test_a_codec_without_calibration_has_none(config):
    plain = calibrator(config(codec="float16"))
    assert plain.stored() == {}
    assert plain.missing({}) == {}


def test_without_a_cache_nothing_is_stored_and_all_is_missing(config):
    fresh = calibrator(config())
    assert fresh.stored() == {}
    made = fresh.missing({})
    assert {name: array.shape for name, array in made.items()} == {"centre": (3, 64), "spread": (3, 64)}
    assert fresh.missing(made) == {}


def test_what_is_stored_is_what_was_made(config):
    made = calibrator(config()).missing({})
    extract(config())
    stored = calibrator(config()).stored()
    assert stored.keys() == made.keys()
    for name, array in made.items():
        assert np.array_equal(stored[name], array)


@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_a_cache_that_has_lost_its_manifest_keeps_its_calibration(config, tmp_path, store):
    settings = config(store=store)
    extract(settings)
    before = calibrator(settings).stored()
    (tmp_path / "cache/manifest.json").unlink()
    after = calibrator(settings).stored()
    assert all(np.array_equal(after[name], array) for name, array in before.items())
