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


@pytest.fixture(scope="module", params=RANKED)
def method_and_counts(request, backbone):
    """A method, and the parameters that it trains with each rank."""
    pytest.importorskip("peft")

    def count(rank):
        live = copy.deepcopy(backbone.model)
        return trained_parameters(
            make_model(request.param, live, rank=rank, targets=["qkv"], num_classes=5, seed=0)
        )

    return request.param, {rank: count(rank) for rank in range(1, 40)}


@pytest.mark.parametrize("parameters", [1, 5000, 15_300])
def test_the_nearest_rank_is_the_best_of_all(backbone, method_and_counts, parameters):
    method, counts = method_and_counts
    found = nearest_rank(method, backbone.model, parameters=parameters, targets=["qkv"], num_classes=5)
    assert found < 39
    assert abs(counts[found] - parameters) == min(abs(count - parameters) for count in counts.values())
