"""Side networks, one file each, and the dict that maps their names to classes."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

from losa.adapt.architecture import Architecture
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
    "SideKind",
    "SideNetwork",
    "effective_options",
    "idle_options",
    "make_side_network",
]

SIDE_NETWORKS: dict[str, type[SideNetwork]] = {
    "losa": LoSA,
    "last": LAST,
    "relay": Relay,
    "lst": LST,
    "linear": LinearProbe,
    "mlp": MLPProbe,
    "attentive": AttentiveProbe,
}


def _refuse_unknown(side: object) -> object:
    if isinstance(side, str) and side in SIDE_NETWORKS:
        return side
    # The error of a Literal of these names, so that both are reported in the same way.
    *names, last = map(repr, SIDE_NETWORKS)
    raise PydanticKnownError("literal_error", {"expected": f"{', '.join(names)} or {last}"})


SideKind = Annotated[str, BeforeValidator(_refuse_unknown)]
"""A key of `SIDE_NETWORKS`; pydantic refuses any other value."""


def effective_options(architecture: Architecture) -> dict[str, Any]:
    """The kind of a side network, and the options that have an effect on that kind and on its features."""
    names = SIDE_NETWORKS[architecture.side].options_for(architecture.probe_share)
    options = {name: getattr(architecture, name) for name in names}
    return {"side": architecture.side} | {name: value for name, value in options.items() if value is not None}


def idle_options(side: str, *, probe_share: float) -> frozenset[str]:
    """Names of the options that have no effect on a side network: those of `Architecture`, and dropout.

    Args:
        side: a key of `SIDE_NETWORKS`.
        probe_share: the share of its probe.
    """
    kind = SIDE_NETWORKS[side]
    idle = Architecture.options() - {"side", *kind.options_for(probe_share)}
    return idle if kind.has_dropout else idle | {"dropout"}


def make_side_network(
    architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
) -> SideNetwork:
    """A freshly initialised side network of this architecture.

    Args:
        architecture: kind and options; see `AdaptConfig.architecture_for`.
        features: shapes and constants of the activations that it reads.
        num_classes: number of class scores, over all label columns.
        seeds: initialisation seed of each member.

    Returns:
        The network, with float32 parameters on the CPU.

    Raises:
        LosaError: the architecture does not fit the features, or its rank or width is not a multiple of its
            heads.
    """
    return SIDE_NETWORKS[architecture.side](architecture, features, num_classes, seeds)
