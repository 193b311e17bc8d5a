"""What all side networks share: a head, and a forward pass from activations to class scores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.dropout import Dropout
from losa.adapt.side_networks.head import Head
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

    options: ClassVar[tuple[str, ...]]
    """Names of the options of `Architecture` that have an effect on this kind of side network."""
    reads_last_site_only: ClassVar[bool] = False
    """Whether it needs no other site than the last, whatever it is given."""
    sees_updates: ClassVar[bool] = True
    """Whether products see updates. If not, the LayerNorm of x is that of ``base_i``."""

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
        if "pool" in self.options and architecture.pool == "cls":
            features.refuse_cls_pool()
        self.architecture = architecture
        self.features = features
        self.num_classes = num_classes
        self.members = len(seeds)
        self.head = Head(features, num_classes, seeds, self.head_inputs())

    @abstractmethod
    def course(self) -> StreamCourse:
        """Which sites each layer sees."""

    def head_inputs(self) -> int:
        """How many numbers the head's linear layer takes."""
        return self.features.width

    def step(self, stream: Stream, layer: int, drop: Drop) -> None:
        """What a layer does; the stream has entered it.

        Args:
            stream: what it sees and adds to.
            layer: its number.
            drop: dropout of something hidden, ``(members, images, ...)``; to be applied once in a place.
        """
        raise NotImplementedError("a subclass with layers has steps, or another way to pool")

    def pooled(self, stream: Stream, drop: Drop) -> Float[Tensor, "members images width"]:
        """Go through the layers, then pool the stream."""
        for layer in range(len(self.course().layers)):
            stream.enter(layer)
            self.step(stream, layer, drop)
        return stream.pool(self.architecture.pool)

    def scores(
        self,
        pooled: Float[Tensor, "members images width"],
        drop: Drop,  # noqa: ARG002 -- for subclasses with a layer in between
    ) -> Float[Tensor, "members images classes"]:
        """From what was pooled to class scores."""
        scores: Tensor = self.head(pooled)
        return scores

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
        return self.scores(self.pooled(stream, drop), drop)

    def open_stream(self, features: FrozenFeatures) -> Stream:
        """The fast stream, or the plain one where the norm is not linear in x."""
        norm = self.architecture.norm
        if norm == "layer" and not self.sees_updates:
            norm = "frozen"
        kind = Materialised if norm == "layer" else Factored
        course = features.renumbered(self.course(), self.features.sites)
        return kind(features, course, members=self.members, norm=norm, tokens=self.features.tokens)

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
