from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import FrozenFeatures, TrainedSideNetwork, adapt, load_side_network
from losa.cache_format import Cache, LosaError

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def trained(member: Any, tmp_path: Path) -> TrainedSideNetwork:
    """A LoSA of two sites with two label columns, trained for an epoch."""
    adapt(member(sites=2, label=["label", "some"], epochs=1), tmp_path / "member")
    return load_side_network(tmp_path / "member")


@pytest.fixture
def activations(trained: TrainedSideNetwork, tmp_path: Path) -> np.ndarray:
    """Those of the test split."""
    return Cache(tmp_path / "cache").activations("test", sites=trained.sites)


def test_scores_of_each_column(trained: TrainedSideNetwork, activations: np.ndarray) -> None:
    found = trained.scores(activations)
    assert list(found) == ["label", "some"]
    assert {name: tuple(scores.shape) for name, scores in found.items()} == {
        "label": (12, 3),
        "some": (12, 3),
    }
    both = torch.cat(list(found.values()), dim=1)
    assert torch.equal(both, trained.network(FrozenFeatures(torch.from_numpy(activations)))[0])
    assert not both.requires_grad


@pytest.mark.parametrize("kind", [np.float64, torch.float32, torch.bfloat16])
def test_activations_of_any_kind(kind: Any, trained: TrainedSideNetwork, activations: np.ndarray) -> None:
    other = activations.astype(kind) if kind is np.float64 else torch.from_numpy(activations).to(kind)
    tolerance = 0.1 if kind is torch.bfloat16 else 0
    expected = trained.scores(activations)["label"]
    torch.testing.assert_close(trained.scores(other)["label"], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("change", [-1, 1])
def test_other_sites_tokens_or_width_are_refused(
    axis: int, change: int, trained: TrainedSideNetwork, activations: np.ndarray
) -> None:
    shape = list(activations.shape)
    shape[axis] += change
    with pytest.raises(LosaError) as caught:
        trained.scores(np.zeros(shape, np.float32))
    assert str(caught.value) == (
        f"activations of shape {tuple(shape)}: expected (images, sites, tokens, width) with "
        "2 sites (block.01, block.02), 6 tokens and width 8"
    )


def test_a_single_image_needs_its_axis(trained: TrainedSideNetwork, activations: np.ndarray) -> None:
    with pytest.raises(LosaError, match=r"activations of shape \(2, 6, 8\): expected \(images, sites"):
        trained.scores(activations[0])


def test_sites_that_the_features_lack_are_named(trained: TrainedSideNetwork, activations: np.ndarray) -> None:
    features = FrozenFeatures(torch.from_numpy(activations), sites=("embed", "block.02"))
    with pytest.raises(LosaError, match=r"found none of block\.01, but of embed, block\.02"):
        trained.network(features)


def test_activations_that_require_gradients_are_refused(
    trained: TrainedSideNetwork, activations: np.ndarray
) -> None:
    with pytest.raises(LosaError, match=r"use activations\.detach\(\)"):
        trained.scores(torch.from_numpy(activations).requires_grad_())
