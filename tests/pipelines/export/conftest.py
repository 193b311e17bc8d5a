"""Small classifiers with an untrained backbone and side networks of random parameters."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from losa.adapt import (
    AdaptConfig,
    FeatureSpec,
    TrainedSideNetwork,
    make_side_network,
    save_side_network,
    stack_side_networks,
)
from losa.cache_format import LabelColumn
from losa.cache_format.identity import FeatureIdentity
from losa.extract import BackboneConfig, FrozenBackbone, load_backbone
from losa.pipelines.classifier.model import Classifier

LABEL = LabelColumn(name="label", num_classes=3, classes=("ant", "bee", "cat"))


def _make_backbone(
    name: str = "test_vit", size: int | None = 32, grid: tuple[int, int] | None = None
) -> FrozenBackbone:
    img_size = None if size is None else [size, size]
    return load_backbone(BackboneConfig(name=name, pretrained=False, img_size=img_size), grid)


def _make_trained(
    backbone: FrozenBackbone,
    side: str,
    columns: Sequence[LabelColumn] = (LABEL,),
    sites: Sequence[str] | None = None,
    **options: Any,
) -> TrainedSideNetwork:
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


@pytest.fixture(scope="session")
def make_backbone() -> Callable[..., FrozenBackbone]:
    """``make_backbone(name, size, grid)``: untrained; for images of its own size if ``size`` is None."""
    return _make_backbone


@pytest.fixture(scope="session")
def make_trained() -> Callable[..., TrainedSideNetwork]:
    """``make_trained(backbone, side, columns, sites, **options)``: a side network of random parameters.

    A fresh one has zeros, which would hide mistakes.
    """
    return _make_trained


@pytest.fixture(scope="session")
def make_classifier() -> Callable[[FrozenBackbone, Mapping[str, TrainedSideNetwork]], Classifier]:
    """``make_classifier(backbone, trained)``: the classifier of a backbone and side networks."""
    return lambda backbone, trained: Classifier(backbone, stack_side_networks(trained))


@pytest.fixture(scope="session")
def backbone() -> FrozenBackbone:
    """An untrained toy transformer for images of 32 x 32 pixels."""
    return _make_backbone()


@pytest.fixture
def trained(backbone: FrozenBackbone) -> dict[str, TrainedSideNetwork]:
    """Two small side networks, one of them with two label columns."""
    colour = LabelColumn(name="colour", num_classes=2)
    return {
        "probe": _make_trained(backbone, "linear"),
        "relay": _make_trained(backbone, "relay", (LABEL, colour), sites=["block.00", "block.05"]),
    }


@pytest.fixture
def classifier(backbone: FrozenBackbone, trained: dict[str, TrainedSideNetwork]) -> Classifier:
    """The classifier of both."""
    return Classifier(backbone, stack_side_networks(trained))


@pytest.fixture
def scores_of() -> Callable[[Classifier, torch.Tensor], list[torch.Tensor]]:
    """``scores_of(classifier, images)``: the class scores of all outputs, in order."""
    return lambda classifier, images: [
        part for columns in classifier(images).values() for part in columns.values()
    ]


@pytest.fixture(scope="session")
def runs(backbone: FrozenBackbone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a linear probe and of a Relay, by name, as losa-adapt writes them."""
    folders = {}
    for side in ("linear", "relay"):
        trained = _make_trained(backbone, side, sites=["block.00", "block.05"])
        folders[side] = tmp_path_factory.mktemp(side)
        save_side_network(
            folders[side],
            trained.network,
            0,
            _identity_of(backbone, trained),
            trained.columns,
            backbone.origin,
        )
    return {"probe": folders["linear"], "relay": folders["relay"]}


def _identity_of(backbone: FrozenBackbone, trained: TrainedSideNetwork) -> FeatureIdentity:
    """The identity of the features that a side network reads."""
    return FeatureIdentity(
        backbone=backbone.identity,
        preprocessing=backbone.preprocessing,
        site_groups=(backbone.group(list(trained.sites)),),
        compute_dtype="float32",
        codec="float32",
        final_norm=backbone.final_norm,
        constants={},
    )
