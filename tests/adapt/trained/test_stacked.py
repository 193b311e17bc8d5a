from dataclasses import replace
from typing import Any

import pytest
import torch

from losa.adapt import stack_side_networks
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError


@pytest.fixture
def activations(make_features: Any, activations_of: Any) -> torch.Tensor:
    """Those of three sites."""
    return activations_of(make_features()).float()


def test_every_kind_scores_as_alone(make_trained: Any, activations: torch.Tensor) -> None:
    kinds = [(side, rank) for side in SIDE_NETWORKS for rank in (2, 4)]
    trained = {f"{side}-{rank}": make_trained(side, rank=rank) for side, rank in kinds}
    trained |= {
        "again": make_trained("last", rank=2),
        "layer": make_trained("losa", norm="layer", pool="mean"),
        "other share": make_trained("losa", rank=2, probe_share=0.5),
        "no probe": make_trained("losa", rank=2, probe_share=0.0),
    }
    stacked = stack_side_networks(trained)
    assert len(stacked.networks) < len(trained) == len(stacked)
    for name, scores in zip(stacked.names, stacked(activations), strict=True):
        alone = trained[name].scores(activations)["label"]
        torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5 * float(alone.abs().max()))


def test_each_reads_its_own_sites(make_trained: Any, activations: torch.Tensor) -> None:
    places = {"one": [0], "three": [0, 1, 2], "first two": [0, 1], "last two": [1, 2], "around": [0, 2]}
    trained = {name: make_trained(sites=sites) for name, sites in places.items()}
    stacked = stack_side_networks(trained)
    assert stacked.sites == ("block.00", "block.01", "block.02")
    for (name, each), scores in zip(trained.items(), stacked(activations), strict=True):
        alone = each.scores(activations[:, places[name]])["label"]
        torch.testing.assert_close(scores, alone, rtol=0, atol=1e-5, msg=name)


def test_a_site_that_is_missing_is_named(make_trained: Any, activations: torch.Tensor) -> None:
    stacked = stack_side_networks({"one": make_trained()})
    with pytest.raises(LosaError, match=r"found none of block\.02"):
        stacked(activations[:, :2], ["block.00", "block.01"])


def test_other_backbones_and_inputs_are_refused(make_trained: Any) -> None:
    first = make_trained()
    backbone = replace(first.backbone, weights_sha256="f" * 64)
    squashed = replace(first.preprocessing, crop_mode="squash")
    for changes, told in (
        ({"backbone": backbone}, r"backbone\.weights_sha256: 0+ and f+"),
        ({"preprocessing": squashed}, r"preprocessing\.crop_mode: center and squash"),
    ):
        with pytest.raises(LosaError, match=rf"first and other differ in\n  {told}"):
            stack_side_networks({"first": first, "other": make_trained(changes=changes)})


def test_there_must_be_one() -> None:
    with pytest.raises(LosaError, match="there are no side networks"):
        stack_side_networks({})
