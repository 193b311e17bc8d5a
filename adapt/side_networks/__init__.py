"""Side networks, one file each, and the one place that maps their names to code."""

from collections.abc import Sequence

from losa.adapt.architecture import Architecture, SideKind
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.base import SideNetwork
from losa.adapt.side_networks.last import LAST
from losa.adapt.side_networks.linear import LinearProbe
from losa.adapt.side_networks.losa import LoSA

__all__ = ["LAST", "SIDE_NETWORKS", "LinearProbe", "LoSA", "SideNetwork", "make_side_network"]

SIDE_NETWORKS: dict[SideKind, type[SideNetwork]] = {"losa": LoSA, "last": LAST, "linear": LinearProbe}


def reads_last_site_only(side: SideKind) -> bool:
    """Whether a kind needs no other site than the last one."""
    return side == "linear"


def make_side_network(
    architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
) -> SideNetwork:
    """The side network that an architecture describes, freshly initialised; see `SideNetwork`."""
    return SIDE_NETWORKS[architecture.side](architecture, features, num_classes, seeds)
