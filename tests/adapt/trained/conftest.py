"""Side networks of the toy cache's backbone that were never trained."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from losa.adapt import TrainedSideNetwork
from losa.cache_format import LabelColumn


@pytest.fixture
def make_trained(
    toy_cache: Any, make_network: Any, make_features: Any, randomise: Any
) -> Callable[..., TrainedSideNetwork]:
    """``make_trained(side, sites, **changes)``: one that reads the first sites; its scores are random."""

    numbers = itertools.count()

    def make(
        side: str = "losa", sites: int = 3, changes: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        features = replace(make_features(sites), constants=dict(make_features(sites).constants))
        network = randomise(make_network(side, features=features, **options)).float().eval()
        trained = TrainedSideNetwork(
            network=network,
            columns=(LabelColumn(name="label", num_classes=3),),
            backbone=toy_cache.features.backbone,
            preprocessing=toy_cache.features.preprocessing,
            features_sha256="",
            tensors_sha256=f"{next(numbers):064x}",
        )
        return replace(trained, **(changes or {}))

    return make
