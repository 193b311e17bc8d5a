"""Adapters in a toy transformer."""

import copy

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelScalingBlock
from torch.nn import functional

from losa.cache_format import LosaError
from losa.pipelines.bench.live.adapter import Adapter, add_adapters


def test_an_adapter_adds_a_bottleneck():
    adapter = Adapter(6, 2)
    hidden = torch.randn(3, 4, 6)
    torch.testing.assert_close(adapter(hidden), hidden)
    with torch.no_grad():
        adapter.up.weight.normal_()
        adapter.up.bias.normal_()
    inner = functional.gelu(hidden @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(adapter(hidden), hidden + inner @ adapter.up.weight.T + adapter.up.bias)


def test_adapters_stand_after_the_mlp_of_every_block_and_start_as_nothing(backbone):
    images = torch.randn(2, 3, 160, 160)
    cls = backbone.model.forward_features(images)[:, 0]
    model = add_adapters(copy.deepcopy(backbone.model), rank=3, num_classes=5, seed=0)
    torch.testing.assert_close(model(images), cls @ model.head.weight.T)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    width, depth = cls.shape[1], len(backbone.model.blocks)
    assert (
        sum(weight.numel() for weight in trained.values())
        == depth * (2 * 3 * width + 3 + width) + (width + 1) * 5
    )
    assert all(".mlp.1." in name or name.startswith("head.") for name in trained)


def test_the_start_depends_on_the_seed_alone(backbone):
    torch.manual_seed(1)
    models = [
        add_adapters(copy.deepcopy(backbone.model), rank=3, num_classes=5, seed=seed) for seed in (0, 0, 1)
    ]
    first, same, other = (model.blocks[1].mlp[1].down.weight for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_blocks_without_an_mlp_are_refused():
    model = timm.create_model("vit_tiny_patch16_224", depth=1, block_fn=ParallelScalingBlock)
    with pytest.raises(LosaError, match="VisionTransformer has no list of blocks with an MLP in each"):
        add_adapters(model, rank=2, num_classes=2, seed=0)
