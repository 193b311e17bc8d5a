import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from losa.cache_format.common.comparison import differences
from losa.extract.preprocessing import make_transform, preprocessing_of

SIZES = [(300, 200), (8, 8), (160, 160), (37, 500), (641, 479)]
MODELS = [
    "test_vit",
    "deit_tiny_patch16_224",
    "vit_tiny_patch16_224.augreg_in21k",
    "vit_small_patch14_dinov2",
    "vit_small_patch16_dinov3",
]


@pytest.mark.parametrize("name", MODELS)
def test_tensors_equal_timms_own_evaluation_transform(name):
    _assert_equal_tensors(timm.create_model(name, pretrained=False))


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_mode": "squash", "crop_pct": 1.0},
        {"crop_mode": "border", "crop_pct": 1.0},
        {"interpolation": "bilinear", "crop_pct": 0.5},
        {"input_size": (3, 96, 160), "mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 3.0)},
    ],
)
def test_every_field_of_the_record_is_obeyed(changes):
    plain = timm.create_model("test_vit", pretrained=False)
    model = timm.create_model("test_vit", pretrained=False, pretrained_cfg_overlay=changes)
    _assert_equal_tensors(model)
    changed = {entry.field for entry in differences(preprocessing_of(plain), preprocessing_of(model))}
    assert set(changes) - {"crop_pct"} <= changed <= set(changes)


def test_the_record_is_what_the_model_says():
    record = preprocessing_of(timm.create_model("vit_tiny_patch16_224.augreg_in21k", pretrained=False))
    assert record.input_size == (3, 224, 224)
    assert record.interpolation == "bicubic"
    # Not ImageNet's statistics: several code bases get this wrong.
    assert record.mean == record.std == (0.5, 0.5, 0.5)
    assert record.crop_pct == 0.9
    assert record.crop_mode == "center"


def _assert_equal_tensors(model):
    ours = make_transform(preprocessing_of(model))
    theirs = create_transform(**resolve_model_data_config(model), is_training=False)
    for seed, (width, height) in enumerate(SIZES):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        image = Image.fromarray(pixels)
        tensor = ours(image)
        assert tensor.dtype == torch.float32
        assert tensor.shape == preprocessing_of(model).input_size
        assert torch.equal(tensor, theirs(image))
