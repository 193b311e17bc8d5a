"""Stage 2: trains side networks from a cache."""

from losa.adapt.adaptation import adapt, adapt_all
from losa.adapt.config import AdaptConfig
from losa.adapt.data.activations import ActivationSource, Batch, CachedActivations
from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.features import FeatureSpec
from losa.adapt.members.job import Job
from losa.adapt.members.side_network_file import load_side_network, save_side_network
from losa.adapt.members.summary import MemberSummary
from losa.adapt.members.trained_side_network import TrainedSideNetwork
from losa.adapt.side_networks import SideNetwork, make_side_network
from losa.adapt.streams import FrozenFeatures
from losa.adapt.training.member_group import MemberGroup, make_group
from losa.adapt.training.trainer import LabelledActivations, MemberEpoch, Trainer

__all__ = [
    "ActivationSource",
    "AdaptConfig",
    "Batch",
    "CachedActivations",
    "FeatureSpec",
    "FrozenFeatures",
    "Job",
    "LabelledActivations",
    "LabelledImages",
    "MemberEpoch",
    "MemberGroup",
    "MemberSummary",
    "SideNetwork",
    "TrainedSideNetwork",
    "Trainer",
    "adapt",
    "adapt_all",
    "load_side_network",
    "make_group",
    "make_side_network",
    "save_side_network",
]
