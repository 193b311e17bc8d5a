"""Side networks, one file each, and the one place that maps their names to code."""

from collections.abc import Sequence

from losa.adapt.architecture import Architecture, SideKind
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.attentive import AttentiveProbe
from losa.adapt.side_networks.base import SideNetwork
from losa.adapt.side_networks.last import LAST
from losa.adapt.side_networks.linear import LinearProbe
from losa.adapt.side_networks.losa import LoSA
from losa.adapt.side_networks.lst import LST
from losa.adapt.side_networks.mlp import MLPProbe
from losa.adapt.side_networks.relay import Relay

__all__ = [
    "LAST",
    "LST",
    "SIDE_NETWORKS",
    "AttentiveProbe",
    "LinearProbe",
    "LoSA",
    "MLPProbe",
    "Relay",
    "SideNetwork",
    "make_side_network",
]

SIDE_NETWORKS: dict[SideKind, type[SideNetwork]] = {
    "losa": LoSA,
    "last": LAST,
    "relay": Relay,
    "lst": LST,
    "linear": LinearProbe,
    "mlp": MLPProbe,
    "attentive": AttentiveProbe,
}


def make_side_network(
    architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
) -> SideNetwork:
    """The side network that an architecture describes, freshly initialised; see `SideNetwork`."""
    return SIDE_NETWORKS[architecture.side](architecture, features, num_classes, seeds)
