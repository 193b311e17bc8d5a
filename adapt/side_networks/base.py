"""What all side networks share: a head, and a forward pass from activations to class scores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.architecture import Architecture
from losa.adapt.dropout import Dropout
from losa.adapt.features import FeatureSpec
from losa.adapt.head import Head
from losa.adapt.streams import Factored, FrozenFeatures, Materialised, Stream, StreamCourse


Drop = Callable[[Tensor, str], Tensor]
"""Dropout of some values in a place that has a name."""


def _keep(values: Tensor, place: str) -> Tensor:  # noqa: ARG001 -- the signature of dropout
    return values


class SideNetwork(nn.Module, ABC):
    """A small network that sees only activations. All parameters lead with a members axis.

    Members of one network share the architecture and differ in their seeds. A subclass says which sites
    its layers see and what a layer does to the stream; it never meets the activations themselves.
    """

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        """Build the head; subclasses add their layers.

        Args:
            architecture: rank, norm, pooling and so on.
            features: of the activations that will be passed.
            num_classes: width of the scores.
            seeds: of the initialisation, one for each member.

        Raises:
            LosaError: the architecture does not fit the features.
        """
        super().__init__()
        if architecture.pool == "cls":
            features.refuse_cls_pool()
        self.architecture = architecture
        self.features = features
        self.num_classes = num_classes
        self.members = len(seeds)
        self.head = Head(features, num_classes, seeds)

    @abstractmethod
    def course(self) -> StreamCourse:
        """Which sites each layer sees."""

    @abstractmethod
    def step(self, stream: Stream, layer: int, drop: Drop) -> None:
        """What a layer does; the stream has entered it.

        Args:
            stream: what it sees and adds to.
            layer: its number.
            drop: dropout of a hidden ``(members, images, rank, ...)``, to be applied once in a place.
        """

    def pooled(self, stream: Stream) -> Float[Tensor, "members images width"]:
        """What goes to the head after the last layer."""
        return stream.pool(self.architecture.pool)

    def forward(
        self, features: FrozenFeatures, dropout: Dropout | None = None
    ) -> Float[Tensor, "members images classes"]:
        """Class scores of every member for every image, in float32 at least.

        Args:
            features: of the images.
            dropout: of this step; None while evaluating.
        """
        stream = self.open_stream(features)
        drop = _keep if dropout is None else dropout
        for layer in range(len(self.course().layers)):
            stream.enter(layer)
            self.step(stream, layer, drop)
        scores: Tensor = self.head(self.pooled(stream))
        return scores

    def open_stream(self, features: FrozenFeatures) -> Stream:
        """The fast stream, or the plain one where the norm is not linear in x."""
        kind = Materialised if self.architecture.norm == "layer" else Factored
        return kind(
            features,
            features.renumbered(self.course(), self.features.sites),
            members=self.members,
            norm=self.architecture.norm,
            tokens=self.features.tokens,
        )

    def keep(self, members: Sequence[int]) -> None:
        """Forget all members but some; parameters are new objects afterwards.

        Args:
            members: which, in their new order.
        """
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                chosen = parameter.detach()[list(members)].clone()
                setattr(module, name, nn.Parameter(chosen))
        self.members = len(members)

    def parameter_count(self) -> int:
        """Trainable numbers of one member, head included."""
        return sum(parameter.numel() for parameter in self.parameters()) // self.members

    def head_parameter_count(self) -> int:
        """Those of the head alone."""
        return sum(parameter.numel() for parameter in self.head.parameters()) // self.members
