"""What losa writes with decoding and without; not its speed."""

import numpy as np
import pytest

from losa.cache_format import Cache
from losa.extract.forward_pass import ForwardPass
from losa.pipelines.bench.extraction import losa_methods
from losa.pipelines.bench.extraction.losa_methods import SPLIT, losa, losa_and_decoding
from losa.pipelines.bench.extraction.timm_methods import Timm


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    monkeypatch.setattr(losa_methods, "CALIBRATION_IMAGES", 3)
    monkeypatch.setattr(losa_methods, "ROWS_PER_SHARD", 3)


@pytest.fixture
def extracted(setting, tmp_path):
    """``extracted(method, images)``: decoded activations in the cache that a pass writes."""

    def extract(method, images):
        folder = tmp_path / "cache"
        folder.mkdir()
        method(setting("losa"))(images, folder)()
        cache = Cache(folder)
        assert cache.manifest.features.codec == "int8"
        split = cache.split(SPLIT)
        codes = split.read(np.arange(len(split)))
        return cache.codec(split.sites).decode(codes)

    return extract


def test_with_decoding_every_image_is_extracted(setting, extracted):
    found = extracted(losa_and_decoding, 7)
    timm = Timm(setting("losa", batch=7))
    expected = timm.backbone.activations(timm.batch(), timm.group.sites).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_without_decoding_one_batch_is_repeated(extracted, monkeypatch):
    monkeypatch.setattr(ForwardPass, "decode", None)
    found = extracted(losa, 5)
    assert found.shape[0] == 5
    np.testing.assert_array_equal(found, found[[0, 1, 0, 1, 0]])
    assert not np.array_equal(found[0], found[1])


def test_shards_are_of_whole_batches(setting, tmp_path):
    losa(setting("losa", batch=2))(5, tmp_path)()
    segment = Cache(tmp_path).manifest.segments[-1]
    assert (segment.images, segment.rows_per_shard) == (5, 4)


def test_passes_do_not_add_up(setting, tmp_path):
    start = losa(setting("losa"))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        start(2, tmp_path / name)()
        assert len(Cache(tmp_path / name).split(SPLIT)) == 2
