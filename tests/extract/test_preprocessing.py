from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from losa.cache_format import LosaError
from losa.cache_format.common.comparison import differences
from losa.cache_format.identity import ImageDecoding
from losa.extract.config import MAX_PIXELS
from losa.extract.preprocessing import choose_preprocessing, make_transform, preprocessing_of
from losa.extract.sources import InvalidImage

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


def test_pixels_are_what_is_normalised():
    record = preprocessing_of(timm.create_model("test_vit", pretrained=False))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 170, 3), np.uint8))
    pixels = make_transform(record, normalised=False)(image)
    assert pixels.dtype == torch.uint8
    mean, std = (torch.tensor(values)[:, None, None] for values in (record.mean, record.std))
    assert torch.equal((pixels / 255 - mean) / std, make_transform(record)(image))


class TestOptions:
    @pytest.fixture
    def own(self):
        """Of a model that crops 95 % of the image."""
        record = preprocessing_of(timm.create_model("test_vit", pretrained=False))
        assert (record.crop_mode, record.crop_pct) == ("center", 0.95)
        return record

    def test_nothing_is_changed_but_the_rules_are_recorded(self, own, config):
        chosen = choose_preprocessing(own, config())
        assert chosen.decoding == ImageDecoding(exif="apply", background=(255, 255, 255))
        assert replace(chosen, decoding=None) == own

    @pytest.mark.parametrize(
        ("options", "changes"),
        [
            ({"resize": "squash"}, {"crop_mode": "squash", "crop_pct": 1.0}),
            ({"resize": "pad"}, {"crop_mode": "border", "crop_pct": 1.0}),
            ({"resize": "crop"}, {}),
            ({"resize": "squash", "crop_pct": 0.5}, {"crop_mode": "squash", "crop_pct": 0.5}),
            ({"crop_pct": 1.0}, {"crop_pct": 1.0}),
            ({"interpolation": "lanczos"}, {"interpolation": "lanczos"}),
            ({"mean": 0.5, "std": 0.25}, {"mean": (0.5,) * 3, "std": (0.25,) * 3}),
            ({"mean": [0.0, 0.1, 0.2]}, {"mean": (0.0, 0.1, 0.2)}),
            (
                {"exif": "ignore", "background": [1, 2, 3]},
                {"decoding": ImageDecoding(exif="ignore", background=(1, 2, 3))},
            ),
        ],
    )
    def test_each_changes_its_part(self, own, config, options, changes):
        plain = choose_preprocessing(own, config())
        assert choose_preprocessing(own, config(**options)) == replace(plain, **changes)

    @pytest.mark.parametrize("name", ["mean", "std"])
    def test_a_wrong_number_of_channels(self, own, config, name):
        with pytest.raises(LosaError, match=rf"{name}=\[0\.5, 0\.5\]: expected one number, or 3"):
            choose_preprocessing(own, config(**{name: [0.5, 0.5]}))

    @pytest.mark.parametrize("std", [0.0, -1.0, [0.5, 0.0, 0.5]])
    def test_the_input_is_never_divided_by_nothing(self, config, std):
        with pytest.raises(ValueError, match="expected more than 0"):
            config(std=std)


class TestWideImages:
    """A centre crop of a wide image does not show its sides, of which two tasks of VTAB-1K ask."""

    @pytest.fixture(params=[(1242, 375), (480, 320)], ids=["KITTI", "CLEVR"])
    def pair(self, request):
        """Pictures that differ in objects near their sides."""
        few = Image.new("RGB", request.param, (90, 120, 90))
        few.paste((200, 30, 30), (request.param[0] // 2 - 20, 150, request.param[0] // 2 + 20, 190))
        many = few.copy()
        for left in (4, request.param[0] - 24):
            many.paste((30, 30, 200), (left, 150, left + 20, 170))
        return few, many

    def test_squashed_and_padded_they_differ(self, pair, config):
        own = preprocessing_of(timm.create_model("deit_tiny_patch16_224", pretrained=False))
        equal = {}
        for resize in ("crop", "squash", "pad"):
            transform = make_transform(choose_preprocessing(own, config(resize=resize)))
            few, many = map(transform, pair)
            assert few.shape == (3, 224, 224)
            equal[resize] = torch.equal(few, many)
        assert equal == {"crop": True, "squash": False, "pad": False}

    def test_a_squashed_image_is_pillows_resize(self, pair, config):
        own = preprocessing_of(timm.create_model("deit_tiny_patch16_224", pretrained=False))
        record = choose_preprocessing(own, config(resize="squash", mean=0, std=1))
        expected = np.asarray(pair[1].resize((224, 224), Image.Resampling.BICUBIC), np.float32) / 255
        assert torch.equal(make_transform(record)(pair[1]), torch.from_numpy(expected).permute(2, 0, 1))


class TestExtremeShapes:
    def test_they_are_refused_where_the_resized_image_would_be_huge_or_nothing(self, config):
        own = preprocessing_of(timm.create_model("deit_tiny_patch16_224", pretrained=False))
        image = Image.new("RGB", (1, 20_000))
        for options, size in (({}, "249 x 4,977,778"), ({"resize": "pad"}, "0 x 224")):
            with pytest.raises(InvalidImage, match=f"^1 x 20,000 pixels would be resized to {size}: "):
                make_transform(choose_preprocessing(own, config(**options)))(image)
        squash = make_transform(choose_preprocessing(own, config(resize="squash")))
        assert squash(image).shape == (3, 224, 224)
        pad = make_transform(choose_preprocessing(own, config(resize="pad")))
        assert pad(Image.new("RGB", (1, 300))).shape == (3, 224, 224)

    def test_the_limit_is_that_of_the_caller(self):
        record = preprocessing_of(timm.create_model("test_vit", pretrained=False))
        image = Image.new("RGB", (10, 100))
        make_transform(record, MAX_PIXELS)(image)
        with pytest.raises(InvalidImage, match="to max_pixels=1000"):
            make_transform(record, 1000)(image)
