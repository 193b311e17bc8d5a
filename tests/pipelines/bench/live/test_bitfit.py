"""The biases of a toy transformer."""

import copy

import pytest
import torch
from torch import nn

from losa.cache_format import LosaError
from losa.pipelines.bench.live.bitfit import add_bitfit


def test_all_biases_and_the_head_are_trained(backbone):
    model = add_bitfit(copy.deepcopy(backbone.model), num_classes=5, seed=0)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    biases = {name for name, _ in model.named_parameters() if name.rsplit(".")[-1] == "bias"}
    assert trained == biases | {"head.weight"}
    assert {"blocks.0.attn.qkv.bias", "norm.bias", "patch_embed.proj.bias"} < trained
    model(torch.randn(1, 3, 160, 160)).sum().backward()
    assert all(model.get_parameter(name).grad is not None for name in trained)


def test_a_backbone_without_biases_is_refused(backbone):
    model = copy.deepcopy(backbone.model)
    for module in model.modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias = None
    with pytest.raises(LosaError, match="VisionTransformer has no biases, which BitFit trains"):
        add_bitfit(model, num_classes=2, seed=0)
