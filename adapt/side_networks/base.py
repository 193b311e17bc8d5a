"""What all side networks share: a head, and a forward pass from activations to class scores."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.config import AdaptConfig
from losa.adapt.features import FeatureSpec
from losa.adapt.head import Head


class SideNetwork(nn.Module, ABC):
    """A small network that sees only activations. All parameters lead with a members axis.

    Members of one network share the architecture and differ in their seeds.
    """

    def __init__(
        self, config: AdaptConfig, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        """Build the head; subclasses add their layers.

        Args:
            config: the architecture (`rank`, `norm`, `pool`, ...); its seed is not used.
            features: of the activations that will be passed.
            num_classes: width of the scores.
            seeds: of the initialisation, one for each member.

        Raises:
            LosaError: the architecture does not fit the features.
        """
        super().__init__()
        if config.pool == "cls":
            features.refuse_cls_pool()
        self.config = config
        self.features = features
        self.num_classes = num_classes
        self.members = len(seeds)
        self.head = Head(features, num_classes, seeds)

    def forward(
        self, activations: Float[Tensor, "images sites tokens width"]
    ) -> Float[Tensor, "members images classes"]:
        """Class scores of every member for every image."""
        scores: Tensor = self.head(self.pooled(activations))
        return scores

    @abstractmethod
    def pooled(
        self, activations: Float[Tensor, "images sites tokens width"]
    ) -> Float[Tensor, "members images width"]:
        """The stream's output, one vector for each member and image."""

    def parameter_count(self) -> int:
        """Trainable numbers of one member, head included."""
        return sum(parameter.numel() for parameter in self.parameters()) // self.members

    def head_parameter_count(self) -> int:
        """Those of the head alone."""
        return sum(parameter.numel() for parameter in self.head.parameters()) // self.members
