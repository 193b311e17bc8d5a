from typing import Any

import pytest
import torch

from losa.adapt import Ensemble, stack_side_networks
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LabelColumn, LosaError

PET = LabelColumn(name="pet", num_classes=2, classes=("cat", "dog"))
AGE = LabelColumn(name="age", num_classes=1)


@pytest.fixture
def activations(make_features: Any, activations_of: Any) -> torch.Tensor:
    """Those of three sites."""
    return activations_of(make_features()).float()


def test_probabilities_of_all_kinds_are_averaged(make_trained: Any, activations: torch.Tensor) -> None:
    trained = {
        side: make_trained(side, sites=range(1 + number % 3)) for number, side in enumerate(SIDE_NETWORKS)
    }
    ensemble = Ensemble(trained)
    assert (ensemble.names, ensemble.members) == (("ensemble",), (tuple(trained),))
    assert ensemble.title == "ensemble of 7 side networks"
    assert ensemble.columns == (trained["losa"].columns,)
    (scores,) = ensemble(activations)
    alone = [each.softmax(dim=-1) for each in stack_side_networks(trained)(activations)]
    torch.testing.assert_close(scores.exp(), torch.stack(alone).mean(dim=0), rtol=1e-5, atol=1e-6)


def test_members_can_be_kept_beside_it(make_trained: Any, activations: torch.Tensor) -> None:
    trained = {"one": make_trained("last"), "two": make_trained("losa")}
    ensemble = Ensemble(trained, with_members=True)
    assert ensemble.names == ("one", "two", "ensemble")
    assert ensemble.members == (("one",), ("two",), ("one", "two"))
    assert len(ensemble) == len(ensemble.columns) == 3
    *members, together = ensemble(activations)
    for ours, theirs in zip(members, stack_side_networks(trained)(activations), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(together, Ensemble(trained)(activations)[0], rtol=0, atol=0)


def test_each_label_column_is_averaged_apart(make_trained: Any, activations: torch.Tensor) -> None:
    trained = {name: make_trained(changes={"columns": (PET, AGE)}) for name in ("one", "two")}
    (scores,) = Ensemble(trained)(activations)
    pet, age = scores.exp().split([2, 1], dim=-1)
    for probabilities in (pet, age):
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(len(activations)))


def test_scores_too_large_for_probabilities_are_averaged(make_trained: Any) -> None:
    sure, other = torch.tensor([[[1e30, 0.0, -1e30]], [[0.0, 1e30, 0.0]]])
    trained = {"sure": make_trained("linear"), "other": make_trained("linear")}
    ensemble = Ensemble(trained)
    for network in ensemble.networks:
        network.forward = lambda *_: torch.stack([sure, other])
    (scores,) = ensemble(torch.empty(1, 3, 5, 8))
    torch.testing.assert_close(scores.softmax(dim=-1), torch.tensor([[0.5, 0.5, 0.0]]))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ((AGE, PET), "label column 1: expected pet, found age"),
        ((PET,), "label column 2: expected age, found nothing"),
        ((LabelColumn(name="pet", num_classes=2, classes=("dog", "cat")), AGE), "pet, class 0: expected cat"),
        ((LabelColumn(name="pet", num_classes=3), AGE), "pet, class 2: expected nothing, found 2"),
        ((LabelColumn(name="pet", num_classes=30), AGE), "and 25 more"),
    ],
)
def test_other_classes_are_refused(make_trained: Any, columns: tuple[LabelColumn, ...], told: str) -> None:
    first = make_trained(changes={"columns": (PET, AGE)})
    with pytest.raises(LosaError, match=rf"(?s)first and other differ in\n.*{told}"):
        Ensemble({"first": first, "other": make_trained(changes={"columns": columns})})


def test_each_counts_once(make_trained: Any) -> None:
    one, two = make_trained(), make_trained("last")
    with pytest.raises(LosaError, match="once; one and copy are the same"):
        Ensemble({"one": one, "two": two, "copy": one})


def test_a_member_with_the_name_of_the_ensemble_has_no_place_beside_it(make_trained: Any) -> None:
    trained = {"ensemble": make_trained(), "two": make_trained("last")}
    assert Ensemble(trained).names == ("ensemble",)
    with pytest.raises(LosaError, match="a side network is called ensemble already"):
        Ensemble(trained, with_members=True)


def test_one_is_no_ensemble(make_trained: Any) -> None:
    with pytest.raises(LosaError, match="at least two side networks; found only lonely"):
        Ensemble({"lonely": make_trained()})
