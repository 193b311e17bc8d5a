"""Operations are counted as by hand, and the median batch counts."""

import pytest
import timm
import torch
from torch import nn

from losa.adapt.side_networks.attention import attend
from losa.cache_format.identity import Preprocessing
from losa.pipelines.report.efficiency import inference
from losa.pipelines.report.efficiency.inference import count_flops, measure_inference


def test_products_convolutions_and_attention_count_two_for_each_multiplication():
    model = timm.create_model("test_vit", pretrained=False, num_classes=5).eval()
    width, hidden, tokens, patch = 64, 3 * 64, 101, 16
    patches = 2 * (tokens - 1) * width * 3 * patch**2
    block = 2 * tokens * (4 * width**2 + 2 * width * hidden) + 2 * 2 * tokens**2 * width
    expected = patches + len(model.blocks) * block + 2 * width * 5
    assert count_flops(model, torch.randn(1, 3, 160, 160)) == expected


def test_attention_of_side_networks_counts_too():
    batch, heads, channels, tokens = 2, 4, 2, 50
    projected = torch.randn(batch, 3, heads, channels, tokens)
    expected = batch * heads * 2 * 2 * tokens**2 * channels
    assert count_flops(lambda images: attend(images, slice(None), torch.float32), projected) == expected


def test_a_batch_has_the_operations_of_its_images():
    model = nn.Sequential(nn.Linear(3, 7, bias=False), nn.GELU())
    assert count_flops(model, torch.randn(5, 3)) == 5 * 2 * 3 * 7


def test_the_speed_is_that_of_the_median_batch_after_the_first(setting, monkeypatch):
    calls = []

    def timed_calls(call, *, most, seconds, device):
        call()
        calls.append((most, seconds, device))
        return [100.0, 1.0, 8.0, 2.0]

    shapes = []

    class Model(nn.Module):
        def forward(self, images):
            shapes.append(tuple(images.shape))
            assert torch.is_inference_mode_enabled()
            return images.flatten(1) @ torch.ones(6 * 5 * 3, 1)

    monkeypatch.setattr(inference, "timed_calls", timed_calls)
    preprocessing = Preprocessing(
        input_size=(3, 6, 5),
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_pct=1.0,
        crop_mode="center",
    )
    model = Model()
    found = measure_inference(model, [model], preprocessing, setting("backbone", "backbone", seconds=7.0))
    assert found == {"images_per_s": 4 / 2.0, "gflops": pytest.approx(2 * 90 / 1e9)}
    assert calls == [(3, 7.0, "cpu")]
    assert shapes == [(4, 3, 6, 5), (1, 3, 6, 5)]
