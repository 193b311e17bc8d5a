"""Full fine-tuning of a toy transformer."""

import copy

import torch

from losa.pipelines.bench.live.full import train_all


def test_all_parameters_are_trained_with_a_new_head(backbone):
    images = torch.randn(2, 3, 160, 160)
    cls = backbone.model.forward_features(images)[:, 0]
    model = train_all(copy.deepcopy(backbone.model), num_classes=5, seed=0)
    scores = model(images)
    torch.testing.assert_close(scores, cls @ model.head.weight.T)
    scores.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
