"""What other libraries write, where they are installed; not their speed."""

import numpy as np
import pytest
import torch

from losa.pipelines.bench.extraction.libraries import kaiko_eva, thingsvision
from losa.pipelines.bench.extraction.timm_methods import Timm

pytestmark = pytest.mark.filterwarnings("default")  # what libraries warn of here is their own affair
IMAGES = 5


@pytest.fixture
def expected(setting):
    """Activations of all images at once."""
    timm = Timm(setting("forward", batch=IMAGES))
    return timm.backbone.activations(timm.batch(), timm.group.sites).numpy()


def test_thingsvision_keeps_each_site(setting, tmp_path, expected):
    pytest.importorskip("thingsvision")
    thingsvision(setting("thingsvision"))(IMAGES, tmp_path)()
    files = [next((tmp_path / module).iterdir()) for module in ("blocks.2", "blocks.5")]
    found = np.stack([np.load(file) for file in files], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_kaiko_eva_keeps_each_image(setting, tmp_path, expected):
    pytest.importorskip("eva")
    kaiko_eva(setting("kaiko-eva"))(IMAGES, tmp_path)()
    found = np.stack([torch.load(file)[0].numpy() for file in sorted(tmp_path.glob("*.pt"))])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
