"""Small classifiers with an untrained backbone and side networks of random parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from losa.adapt import AdaptConfig, FeatureSpec, TrainedSideNetwork, make_side_network, stack_side_networks
from losa.cache_format import LabelColumn
from losa.extract import BackboneConfig, FrozenBackbone, load_backbone
from losa.pipelines.classifier.model import Classifier

LABEL = LabelColumn(name="label", num_classes=3, classes=("ant", "bee", "cat"))


def make_backbone(name: str = "test_vit", size: int | None = 32) -> FrozenBackbone:
    """An untrained network."""
    return load_backbone(
        BackboneConfig(name=name, pretrained=False, img_size=None if size is None else [size, size])
    )


def make_trained(
    backbone: FrozenBackbone,
    side: str,
    columns: Sequence[LabelColumn] = (LABEL,),
    sites: Sequence[str] | None = None,
    **options: Any,
) -> TrainedSideNetwork:
    """A side network of random parameters; a fresh one has zeros that would hide mistakes."""
    group = backbone.group("all" if sites is None else list(sites))
    features = FeatureSpec(
        sites=group.sites,
        tokens=group.tokens,
        width=group.width,
        final_norm=backbone.final_norm,
        constants=dict(backbone.final_norm_constants),
    )
    config = AdaptConfig(**({"cache": "unused", "side": side, "rank": 4, "heads": 2} | options))
    classes = sum(column.num_classes for column in columns)
    network = make_side_network(config.architecture_for(group.tokens), features, classes, [0])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return TrainedSideNetwork(
        network=network.eval(),
        columns=tuple(columns),
        backbone=backbone.identity,
        preprocessing=backbone.preprocessing,
        features_sha256="0" * 64,
        tensors_sha256="1" * 64,
    )


def make_classifier(backbone: FrozenBackbone, trained: Mapping[str, TrainedSideNetwork]) -> Classifier:
    """The classifier of a backbone and side networks."""
    return Classifier(backbone, stack_side_networks(trained))


@pytest.fixture(scope="session")
def backbone() -> FrozenBackbone:
    """An untrained toy transformer for images of 32 x 32 pixels."""
    return make_backbone()


@pytest.fixture
def trained(backbone: FrozenBackbone) -> dict[str, TrainedSideNetwork]:
    """Two small side networks, one of them with two label columns."""
    colour = LabelColumn(name="colour", num_classes=2)
    return {
        "probe": make_trained(backbone, "linear"),
        "relay": make_trained(backbone, "relay", (LABEL, colour), sites=["block.00", "block.05"]),
    }


@pytest.fixture
def classifier(backbone: FrozenBackbone, trained: dict[str, TrainedSideNetwork]) -> Classifier:
    """The classifier of both."""
    return make_classifier(backbone, trained)


@pytest.fixture
def scores_of() -> Callable[[Classifier, torch.Tensor], list[torch.Tensor]]:
    """``scores_of(classifier, images)``: the class scores of all outputs, in order."""
    return lambda classifier, images: [
        part for columns in classifier(images).values() for part in columns.values()
    ]
