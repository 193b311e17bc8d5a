import re
from typing import Any

import pytest
import torch

from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LosaError
from losa.extract import FrozenBackbone
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export.graph import ClassifierGraph, drawn_images, trace

VARIANTS: dict[str, dict[str, object]] = {
    **{side: {"side": side} for side in SIDE_NETWORKS},
    "losa-bias-first": {"side": "losa", "bias": True, "start": "first", "order": "token_channel"},
    "losa-layer-mean": {"side": "losa", "norm": "layer", "pool": "mean"},
    "last-none": {"side": "last", "norm": "none"},
    "relay-mean": {"side": "relay", "pool": "mean", "sites": ["embed", "block.05"]},
}


@pytest.mark.long
def test_every_kind_of_side_network_is_traced_for_any_number_of_images(
    backbone: FrozenBackbone, make_trained: Any, make_classifier: Any, scores_of: Any
) -> None:
    trained = {
        name: make_trained(backbone, **({"sites": ["block.02", "block.05"]} | options))
        for name, options in VARIANTS.items()
    }
    classifier = make_classifier(backbone, trained)
    run = trace(ClassifierGraph(classifier)).module()
    for number in (1, 3, 8):
        images = drawn_images(backbone.preprocessing, number)
        found = run(images)
        assert list(found) == [f"{name}/label" for name in VARIANTS]
        for scores, expected in zip(found.values(), scores_of(classifier, images), strict=True):
            assert scores.shape == (number, 3)
            torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


def test_sums_and_pooled_grids_are_traced(
    make_backbone: Any, make_trained: Any, make_classifier: Any, scores_of: Any
) -> None:
    backbone = make_backbone(grid=(1, 2))
    trained = {
        side: make_trained(backbone, side, sites=["sum:embed+all", "block.05"], pool="mean")
        for side in ("linear", "losa", "last")
    }
    classifier = make_classifier(backbone, trained)
    assert classifier.networks.tokens.count == 1 + 2
    run = trace(ClassifierGraph(classifier)).module()
    images = drawn_images(backbone.preprocessing, 5)
    for scores, expected in zip(run(images).values(), scores_of(classifier, images), strict=True):
        torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["test_convnext", "test_byobnet"])
def test_a_backbone_with_stages_is_traced(
    name: str, make_backbone: Any, make_trained: Any, make_classifier: Any
) -> None:
    backbone = make_backbone(name, None)
    trained = make_trained(backbone, "relay", sites=[backbone.sites[-1]], pool="mean")
    classifier = make_classifier(backbone, {"relay": trained})
    run = trace(ClassifierGraph(classifier)).module()
    images = drawn_images(backbone.preprocessing, 5)
    torch.testing.assert_close(run(images)["label"], classifier(images)["relay"]["label"])


def test_writes_in_place_do_not_become_scatters(classifier: Classifier) -> None:
    targets = {str(node.target) for node in trace(ClassifierGraph(classifier)).graph.nodes}
    assert not [target for target in targets if re.match(r"aten\.(\w*scatter|copy_|index_put)", target)]


def test_a_backbone_that_cannot_be_traced_is_named(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward_features(images: torch.Tensor) -> torch.Tensor:
        raise ValueError(f"no more than {int(images.sum())} images")  # depends on what the images hold

    monkeypatch.setattr(classifier.backbone, "forward_features", forward_features)
    with pytest.raises(LosaError, match=r"cannot trace the backbone test_vit: .*\n.*to=<folder>/"):
        trace(ClassifierGraph(classifier))


def test_drawn_images_are_normalised_pixels(backbone: FrozenBackbone) -> None:
    preprocessing = backbone.preprocessing
    images = drawn_images(preprocessing, 3)
    assert images.shape == (3, *preprocessing.input_size)
    low, high = ((edge - preprocessing.mean[0]) / preprocessing.std[0] for edge in (0, 1))
    assert low <= images.min() < images.max() <= high
    assert torch.equal(images, drawn_images(preprocessing, 3))
