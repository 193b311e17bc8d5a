"""What the methods of a script write; not their speed."""

import h5py
import numpy as np
import pytest
import torch

from losa.cache_format import LosaError
from losa.pipelines.bench.extraction.timm_methods import (
    Timm,
    forward,
    forward_and_decoding,
    timm_and_h5py,
    timm_and_npy,
)

IMAGES = 5


@pytest.fixture
def expected(setting):
    """Activations of all images at once."""
    timm = Timm(setting("forward", batch=IMAGES))
    return timm.backbone.activations(timm.batch(), timm.group.sites).numpy()


@pytest.mark.parametrize("method", [forward, forward_and_decoding])
def test_the_limits_see_all_images_and_write_nothing(setting, tmp_path, monkeypatch, method):
    seen = []
    monkeypatch.setattr(Timm, "forward", lambda timm, batches: seen.extend(len(batch) for batch in batches))
    method(setting("forward"))(IMAGES, tmp_path / "nowhere")()
    assert seen == [2, 2, 1]


def test_the_limit_is_the_bare_model(setting, monkeypatch, tmp_path):
    calls = []
    start = forward(setting("forward"))
    monkeypatch.setattr(
        "timm.models.VisionTransformer.forward_features",
        lambda model, images: calls.append((images.shape, torch.is_inference_mode_enabled())),
    )
    start(3, tmp_path)()
    assert calls == [((2, 3, 160, 160), True), ((1, 3, 160, 160), True)]


def test_npy_has_the_activations_of_every_batch(setting, tmp_path, expected):
    timm_and_npy(setting("timm+npy"))(IMAGES, tmp_path)()
    parts = [np.load(path) for path in sorted(tmp_path.glob("*.npy"))]
    assert [len(part) for part in parts] == [2, 2, 1]
    found = np.concatenate(parts)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_h5py_has_the_activations_of_all_images(setting, tmp_path, expected):
    timm_and_h5py(setting("timm+h5py"))(IMAGES, tmp_path)()
    with h5py.File(tmp_path / "features.h5") as file:
        found = file["features"][:]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


def test_a_dtype_that_the_device_has_not_is_refused(setting):
    with pytest.raises(LosaError, match="dtype=tf32 is a mode of GPUs"):
        Timm(setting("forward", dtype="tf32"))
