"""What is written is a backbone of losa-extract."""

from pathlib import Path

import torch

from losa.extract import BackboneConfig, load_backbone
from losa.pipelines.pretraining.learner import MEAN, STD, Learner
from losa.pipelines.pretraining.saving import save_backbone


def test_the_folder_is_a_backbone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    learner = Learner(figures=3, textures=2)
    save_backbone(learner, tmp_path / "mine")
    assert (tmp_path / "mine/model.safetensors").stat().st_size < 4_000_000
    loaded = load_backbone(BackboneConfig(name=f"local-dir:{tmp_path / 'mine'}"))
    preprocessing = loaded.preprocessing
    assert preprocessing.input_size == (3, 32, 32)
    assert (preprocessing.crop_pct, preprocessing.interpolation) == (1.0, "bicubic")
    assert (set(preprocessing.mean), set(preprocessing.std)) == ({MEAN}, {STD})
    images = torch.rand(2, 3, 32, 32)
    found = loaded.activations(images, ["block.05"])[:, 0]
    kept = torch.arange(64).expand(2, -1)
    with torch.no_grad():
        expected = learner._tokens(images * STD + MEAN, kept)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)
