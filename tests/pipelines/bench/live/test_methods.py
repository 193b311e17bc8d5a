"""Methods by name, and ranks by numbers of parameters."""

import copy
from typing import get_args

import pytest

from losa.pipelines.bench.live.methods import RANKED, Method, make_model, nearest_rank, trained_parameters


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_trains_the_head_and_leaves_its_copy_alone(backbone, method):
    pytest.importorskip("peft")
    model = make_model(method, copy.deepcopy(backbone.model), rank=2, targets=["qkv"], num_classes=5, seed=0)
    width = backbone.model.embed_dim
    head = (width + 1) * 5
    assert trained_parameters(model) == head if method == "linear" else trained_parameters(model) > head
    assert not any(weight.requires_grad for weight in backbone.model.parameters())


@pytest.mark.parametrize("method", RANKED)
@pytest.mark.parametrize("parameters", [1, 5000, 15_300])
def test_the_nearest_rank_is_the_best_of_all(backbone, method, parameters):
    pytest.importorskip("peft")
    counts = {
        rank: trained_parameters(
            make_model(
                method, copy.deepcopy(backbone.model), rank=rank, targets=["qkv"], num_classes=5, seed=0
            )
        )
        for rank in range(1, 40)
    }
    found = nearest_rank(method, backbone.model, parameters=parameters, targets=["qkv"], num_classes=5)
    assert found < 39
    assert abs(counts[found] - parameters) == min(abs(count - parameters) for count in counts.values())
