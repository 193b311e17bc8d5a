"""Stage 2: side networks are trained from a cache."""

from losa.adapt.activations import ActivationSource, CachedActivations
from losa.adapt.adaptation import adapt
from losa.adapt.config import AdaptConfig
from losa.adapt.features import FeatureSpec
from losa.adapt.side_network_file import load_side_network, save_side_network
from losa.adapt.side_networks import SideNetwork, make_side_network
from losa.adapt.training import EpochMetrics, LabelledActivations, evaluate, train

__all__ = [
    "ActivationSource",
    "AdaptConfig",
    "CachedActivations",
    "EpochMetrics",
    "FeatureSpec",
    "LabelledActivations",
    "SideNetwork",
    "adapt",
    "evaluate",
    "load_side_network",
    "make_side_network",
    "save_side_network",
    "train",
]
