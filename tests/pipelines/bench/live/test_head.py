"""A new head on a frozen toy transformer."""

import copy

import pytest
import timm
import torch

from losa.adapt.side_networks.parameters import member_normal
from losa.cache_format import LosaError
from losa.pipelines.bench.live.head import add_head


def test_only_the_head_is_trained_and_it_reads_the_cls_token(backbone):
    images = torch.randn(2, 3, 160, 160)
    cls = backbone.model.forward_features(images)[:, 0]
    model = add_head(copy.deepcopy(backbone.model), num_classes=5, seed=3)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained.keys() == {"head.weight", "head.bias"}
    expected = member_normal([3], "head.weight", (cls.shape[1], 5), 0.01)[0]
    torch.testing.assert_close(trained["head.weight"].T, expected)
    torch.testing.assert_close(model(images), cls @ expected)


def test_a_backbone_without_cls_token_is_refused():
    with pytest.raises(LosaError, match="has no cls token"):
        add_head(timm.create_model("test_resnet"), num_classes=2, seed=0)


def test_a_second_head_is_refused():
    model = timm.create_model("deit_tiny_distilled_patch16_224", depth=1)
    with pytest.raises(LosaError, match=r"a single linear head on the cls token, found .*head_dist\.weight"):
        add_head(model, num_classes=2, seed=0)
