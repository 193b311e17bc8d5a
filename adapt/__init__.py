"""Stage 2: trains side networks from a cache."""

from losa.adapt.adaptation import adapt, adapt_all
from losa.adapt.config import AdaptConfig
from losa.adapt.data.activations import ActivationSource, Batch, CachedActivations
from losa.adapt.data.labelled_activations import LabelledActivations
from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.features import FeatureSpec
from losa.adapt.members.job import Job
from losa.adapt.members.listener import TrainingListener
from losa.adapt.members.summary import MemberSummary
from losa.adapt.side_networks import SideNetwork, make_side_network
from losa.adapt.streams import FrozenFeatures
from losa.adapt.trained.ensemble import Ensemble
from losa.adapt.trained.files import load_side_network, save_side_network
from losa.adapt.trained.scoring import ActivationBatch, ActivationStream, CachedStream, ScoredBatch, score
from losa.adapt.trained.side_network import TrainedSideNetwork
from losa.adapt.trained.stacked import StackedSideNetworks
from losa.adapt.trained.stacking import stack_side_networks
from losa.adapt.training.member_epoch import MemberEpoch
from losa.adapt.training.member_group import MemberGroup, make_group
from losa.adapt.training.trainer import Trainer

__all__ = [
    "ActivationBatch",
    "ActivationSource",
    "ActivationStream",
    "AdaptConfig",
    "Batch",
    "CachedActivations",
    "CachedStream",
    "Ensemble",
    "FeatureSpec",
    "FrozenFeatures",
    "Job",
    "LabelledActivations",
    "LabelledImages",
    "MemberEpoch",
    "MemberGroup",
    "MemberSummary",
    "ScoredBatch",
    "SideNetwork",
    "StackedSideNetworks",
    "TrainedSideNetwork",
    "Trainer",
    "TrainingListener",
    "adapt",
    "adapt_all",
    "load_side_network",
    "make_group",
    "make_side_network",
    "save_side_network",
    "score",
    "stack_side_networks",
]
