"""Side networks of the toy cache's backbone that were never trained."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from losa.adapt import TrainedSideNetwork
from losa.cache_format import LabelColumn


@pytest.fixture
def make_trained(
    toy_cache: Any, make_network: Any, make_features: Any, randomise: Any
) -> Callable[..., TrainedSideNetwork]:
    """``make_trained(side, sites, **changes)``: one that reads some of three sites; its scores are random.

    Where it has layers, a probe is beside them.
    """

    numbers = itertools.count()

    def make(
        side: str = "losa",
        sites: Sequence[int] = (0, 1, 2),
        changes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        features = make_features()
        features = replace(
            features,
            sites=tuple(features.sites[site] for site in sites),
            constants=dict(features.constants),
        )
        network = make_network(side, features=features, **({"probe_share": 0.25} | options))
        network = randomise(network).float().eval()
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
