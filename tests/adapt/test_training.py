from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import EpochMetrics, LabelledActivations, SideNetwork, evaluate, make_side_network, train
from losa.adapt.schedule import warmup_cosine
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training import member_losses
from losa.cache_format import LosaError

KINDS = tuple(SIDE_NETWORKS)


@pytest.fixture
def make_trained(
    make_config: Any, make_features: Any, toy_data: Any
) -> Callable[..., tuple[SideNetwork, list[EpochMetrics]]]:
    """``make_trained(side, seeds, **options)``: a network trained on toy data, and its metrics."""

    def make(
        side: str, seeds: tuple[int, ...] = (0,), **options: Any
    ) -> tuple[SideNetwork, list[EpochMetrics]]:
        defaults = {"rank": 4, "heads": 2, "epochs": 4, "batch_size": 8, "lr": 0.02}
        config = make_config(side=side, **(defaults | options))
        features = make_features()
        network = make_side_network(config.architecture, features, 3, seeds)
        metrics: list[EpochMetrics] = []
        train(network, toy_data(features), config, metrics.append)
        return network, metrics

    return make


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_losses_go_down(side: str, optimizer: str, make_trained: Any, toy_data: Any) -> None:
    lr = {"adamw": 0.05, "sgd": 0.2 if side == "linear" else 0.1}[optimizer]
    network, metrics = make_trained(side, (0, 1), optimizer=optimizer, lr=lr, epochs=8)
    assert (metrics[-1].train_loss < 0.5 * metrics[0].train_loss).all()
    unseen = toy_data(network.features, images=60, seed=1)
    assert (evaluate(network, unseen, 16) > 0.9).all()


def test_metrics(make_trained: Any) -> None:
    _, metrics = make_trained("losa", (0, 1, 2), epochs=3, batch_size=8, lr=0.02, warmup=0.25)
    assert [each.epoch for each in metrics] == [0, 1, 2]
    steps = 4 * 3  # the last of the four batches has six of the thirty images
    for epoch, each in enumerate(metrics):
        assert each.step_losses.shape == (4, 3)
        assert each.lr == pytest.approx(0.02 * warmup_cosine(4 * epoch + 3, steps, 0.25))
        np.testing.assert_allclose(each.train_loss, each.step_losses.mean(axis=0))
        assert ((each.train_accuracy >= 0) & (each.train_accuracy <= 1)).all()
    assert metrics[0].step_losses[0] == pytest.approx(np.log(3), abs=0.2)


@pytest.mark.parametrize("side", KINDS)
def test_the_same_training_twice(side: str, make_trained: Any) -> None:
    first, metrics = make_trained(side)
    torch.manual_seed(5)
    second, again = make_trained(side)
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert [each.step_losses.tolist() for each in metrics] == [each.step_losses.tolist() for each in again]


@pytest.mark.parametrize("option", ["data_seed", "seed"])
def test_both_seeds_matter(option: str, make_trained: Any) -> None:
    def losses(value: int) -> list[float]:
        seeds = (value if option == "seed" else 0,)
        _, metrics = make_trained("losa", seeds, data_seed=value if option == "data_seed" else 0)
        return [loss for each in metrics for loss in each.step_losses.ravel().tolist()]

    assert losses(0) != losses(1)


@pytest.mark.parametrize("side", KINDS)
def test_a_member_is_trained_as_if_alone(side: str, make_trained: Any) -> None:
    company, theirs = make_trained(side, (3, 5, 7))
    alone, mine = make_trained(side, (5,))
    for a, b in zip(theirs, mine, strict=True):
        np.testing.assert_allclose(a.step_losses[:, 1], b.step_losses[:, 0], rtol=0, atol=1e-5)
    for a, b in zip(company.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a[1], b[0], rtol=0, atol=1e-4)


def test_positions_choose_images_of_the_source(make_features: Any, toy_data: Any) -> None:
    data = toy_data(make_features())
    chosen = LabelledActivations(source=data.source, positions=data.positions[5:9], labels=data.labels[5:9])
    (found,) = chosen.read([np.array([3, 0])])
    assert torch.equal(found, data.source.read(np.array([8, 5])))
    assert len(chosen) == 4


def test_evaluate_counts_every_image_once(make_features: Any, make_config: Any, toy_data: Any) -> None:
    network = make_side_network(make_config(side="linear").architecture, make_features(norm=None), 3, (0, 1))
    data = toy_data(network.features, images=10)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.eye(3)[:2])
    # Member 0 says class 0 to everything, member 1 class 1: labels 0 to 2 in turn are 4, 3 and 3 of ten.
    for batch_size in (1, 3, 10, 50):
        assert evaluate(network.train(), data, batch_size).tolist() == [0.4, 0.3]
        assert not network.training


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_loss_that_diverges_is_an_error(optimizer: str, make_trained: Any) -> None:
    with pytest.raises(LosaError) as error:
        make_trained("losa", norm="none", optimizer=optimizer, lr=1e30)
    assert str(error.value) == (
        "the loss became NaN or infinite in epoch 0 (lr=1e+30): use a smaller lr, or a norm (norm=layer)"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_refused(value: float, make_network: Any, toy_data: Any) -> None:
    network = make_network("linear", (0, 1)).float()
    data = replace(toy_data(network.features), name="split 'val200'")
    with torch.no_grad():
        network.head.bias[1, 2] = value
    with pytest.raises(LosaError) as error:
        evaluate(network, data, 16)
    assert str(error.value) == (
        "the scores of split 'val200' are NaN or infinite: use a smaller lr, or a norm (norm=layer)"
    )


@pytest.mark.parametrize("members", [1, 3])
def test_member_losses_are_torchs_cross_entropy(members: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(members, 7, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (7,), generator=generator)
    expected = [torch.nn.functional.cross_entropy(each, targets) for each in scores]
    torch.testing.assert_close(member_losses(scores, targets), torch.stack(expected))
