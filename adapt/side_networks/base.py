"""The base class of side networks: a head, and a forward pass from activations to class scores."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.architecture import Architecture
from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.dropout import Dropout
from losa.adapt.side_networks.head import Head, LinearClassifier
from losa.adapt.side_networks.parameters import Weights, by_layer
from losa.adapt.streams import (
    Factored,
    FactoredFrames,
    FrozenFeatures,
    Materialised,
    MaterialisedFrames,
    Stream,
    StreamSites,
    SummedFrames,
    pool_tokens,
    pooled_tokens,
)
from losa.cache_format.errors import LosaError

Drop = Callable[[Tensor, str], Tensor]
"""Function that applies dropout to hidden values ``(members, images, ...)`` at a named place."""


def _no_dropout(values: Tensor, place: str) -> Tensor:  # noqa: ARG001 -- the signature is that of dropout
    return values


class SideNetwork(nn.Module, ABC):
    """A small network whose only inputs are activations. All parameters have a leading members axis.

    The members of one network share the architecture and differ in their seeds. A subclass defines which
    sites its layers see (`stream_sites`) and how a layer updates the stream (`step`); it never accesses the
    activations themselves.

    With ``probe_share`` a linear probe of the last site is trained beside the layers, by a loss of its own,
    so that it is the one that ``side=linear`` trains. The class scores are the mean of both.

    Attributes:
        architecture: kind and options.
        features: shapes and constants of the activations that it reads.
        num_classes: number of class scores, over all label columns.
        members: number of members.
        head: the final norm and the linear layer after the stream.
        probe: linear layer of the probe; None if there is no probe.
    """

    options: ClassVar[tuple[str, ...]]
    """Names of the options of `Architecture` that have an effect on this kind of side network."""
    probe_options: ClassVar[tuple[str, ...]] = ()
    """Names of those that have an effect only where there is a probe beside the layers."""
    reads_last_site_only: ClassVar[bool] = False
    """Whether it uses only the last of the chosen sites."""
    has_dropout: ClassVar[bool] = True
    """Whether it has hidden values that dropout applies to."""
    default_rank: ClassVar[int] = 8
    """Rank that ``rank=auto`` stands for."""
    default_dropout: ClassVar[float] = 0.0
    """Rate that ``dropout=auto`` stands for; docs/defaults.md has the measurements that chose it."""
    default_probe_share: ClassVar[float] = 0.0
    """Share that ``probe_share=auto`` stands for; docs/defaults.md has the measurements that chose it."""
    sees_updates: ClassVar[bool] = True
    """Whether a layer sees the updates of earlier ones. If not, LayerNorm of x is LayerNorm of ``base_i``."""

    product_rows: ClassVar[Literal["rank", "heads"] | None] = None
    """Option that is the number of rows of a layer's products with all tokens; None if there are none."""
    attends: ClassVar[bool] = False
    """Whether its tokens attend to each other, which compiled kernels may compute."""
    mixes_along_time: ClassVar[bool] = False
    """Whether its layers have products or updates along the frames of a position, where factorised."""

    def __init__(
        self, architecture: Architecture, features: FeatureSpec, num_classes: int, seeds: Sequence[int]
    ) -> None:
        """Build the head; subclasses build their layers.

        Args:
            architecture: kind and options.
            features: shapes and constants of the activations.
            num_classes: number of class scores, over all label columns.
            seeds: initialisation seed of each member.

        Raises:
            LosaError: the architecture does not fit the features.
        """
        super().__init__()
        if "pool" in self.options_for(architecture.probe_share) and architecture.pool == "cls":
            features.refuse_cls_pool()
        self.architecture = architecture
        self.features = features
        self.num_classes = num_classes
        self.members = len(seeds)
        self.head = Head(features, num_classes, seeds, self.head_inputs())
        has_probe = "probe_share" in self.options and architecture.probe_share > 0
        self.probe = LinearClassifier(features.width, num_classes, seeds) if has_probe else None

    @classmethod
    def options_for(cls, probe_share: float) -> tuple[str, ...]:
        """Names of the options of `Architecture` that have an effect with this share of a probe."""
        has_probe = "probe_share" in cls.options and probe_share > 0
        return cls.options + cls.probe_options if has_probe else cls.options

    @abstractmethod
    def stream_sites(self) -> StreamSites:
        """The sites that each layer and the output start from."""

    def read_tokens(self, *, last: bool) -> slice:
        """Tokens of a layer's update that are read: all, but those that are pooled in the last layer.

        Args:
            last: whether it is the last layer.
        """
        return pooled_tokens(self.architecture.pool, self.features.tokens) if last else slice(None)

    @property
    def factorised(self) -> bool:
        """Whether tokens are mixed in space and in time, which needs a `FrameStream`."""
        return self.architecture.mixing == "factorised"

    def head_inputs(self) -> int:
        """Number of inputs of the head's linear layer."""
        return self.features.width

    def layered(self) -> dict[str, Float[Tensor, "members layers ..."]]:
        """What the layers compute with, by name: all parameters but the classifiers', if not overridden."""
        named = self.named_parameters()
        return {name: value for name, value in named if not name.startswith(("head.", "probe."))}

    def step(self, stream: Stream, layer: int, weights: Weights, drop: Drop) -> None:
        """Apply a layer, which the stream has entered already.

        Args:
            stream: the stream to read and to update.
            layer: number of the layer.
            weights: the layer's part of `layered`.
            drop: dropout of hidden values; each place may be used once.

        Raises:
            NotImplementedError: a subclass with layers overrides neither this method nor `pooled`.
        """
        raise NotImplementedError("a subclass with layers overrides step or pooled")

    def pooled(self, stream: Stream, drop: Drop) -> Float[Tensor, "members images width"]:
        """Apply all layers, then pool the stream.

        Args:
            stream: the stream, at its start.
            drop: dropout of hidden values.
        """
        layers = range(len(self.stream_sites().layers))
        if layers:
            for layer, weights in zip(layers, by_layer(self.layered()), strict=True):
                stream.enter(layer)
                self.step(stream, layer, weights, drop)
        return stream.pool(self.architecture.pool)

    def scores(
        self,
        pooled: Float[Tensor, "members images width"],
        drop: Drop,  # noqa: ARG002 -- for subclasses with a hidden layer
    ) -> Float[Tensor, "members images classes"]:
        """Class scores of the pooled stream.

        Args:
            pooled: what `pooled` returned.
            drop: dropout of hidden values.
        """
        scores: Tensor = self.head(pooled)
        return scores

    def forward(
        self, features: FrozenFeatures, dropout: Dropout | None = None
    ) -> Float[Tensor, "members images classes"]:
        """Class scores of every member for every image, in float32 at least.

        Args:
            features: the frozen features of the images, on the device of the network.
            dropout: dropout of this step; None for evaluation.

        Raises:
            LosaError: the features are of another number of sites, tokens or channels, or lack a site.
        """
        return self.mean_of_branches(self.branches(features, dropout))

    def branches(
        self, features: FrozenFeatures, dropout: Dropout | None = None
    ) -> tuple[Float[Tensor, "members images classes"], ...]:
        """Class scores of each branch, which has a loss of its own: of the layers, and of the probe if any.

        Args:
            features: the frozen features of the images, on the device of the network.
            dropout: dropout of this step; None for evaluation.

        Returns:
            Class scores of one branch or of two, in float32 at least.

        Raises:
            LosaError: the features are of another number of sites, tokens or channels, or lack a site.
        """
        stream = self.open_stream(features)
        drop = _no_dropout if dropout is None else dropout
        scores = self.scores(self.pooled(stream, drop), drop)
        return (scores,) if self.probe is None else (scores, self._probe_scores(features, self.probe))

    def mean_of_branches(
        self, values: Sequence[Float[Tensor, "members ..."]]
    ) -> Float[Tensor, "members ..."]:
        """The mean of what all branches have, like scores or losses, weighted by the probe's share.

        The mean of the losses is at least the loss of the mean scores, because a cross-entropy is convex.

        Args:
            values: one tensor for each branch, in the order of `branches`.
        """
        if self.probe is None:
            (alone,) = values
            return alone
        of_layers, of_probe = values
        return torch.lerp(of_layers, of_probe, self.architecture.probe_share)

    def _probe_scores(
        self, features: FrozenFeatures, probe: LinearClassifier
    ) -> Float[Tensor, "members images classes"]:
        last = StreamSites(layers=(), output=len(self.features.sites) - 1)
        output = features.output(features.renumbered(last, self.features.sites).output)
        pooled = pool_tokens(self.architecture.pool, self.features.tokens, output)
        return probe.classify(self.head.normalise(pooled.expand(self.members, -1, -1)))

    def open_stream(self, features: FrozenFeatures) -> Stream:
        """The fastest stream for its layers: `Materialised` only if the norm is not linear in x.

        Args:
            features: the frozen features of the images, on the device of the network.

        Raises:
            LosaError: the features are of another number of sites, tokens or channels, or lack a site.
        """
        self._refuse_others(features)
        norm = self.architecture.norm
        if norm == "layer" and not self.sees_updates:
            norm = "frozen"
        kind: type[Materialised] | type[Factored] | type[FactoredFrames] | type[SummedFrames]
        if not self.factorised:
            kind = Materialised if norm == "layer" else Factored
        elif norm == "layer":
            kind = MaterialisedFrames
        else:
            kind = SummedFrames if self.mixes_along_time else FactoredFrames
        sites = features.renumbered(self.stream_sites(), self.features.sites)
        return kind(features, sites, members=self.members, norm=norm, tokens=self.features.tokens)

    def _refuse_others(self, features: FrozenFeatures) -> None:
        own = self.features
        names = own.sites if features.sites is None else features.sites
        expected = (len(names), own.tokens.count, own.width)
        found = tuple(features.activations.shape)
        if len(found) != 4 or found[1:] != expected:
            raise LosaError(
                f"activations of shape {found}: expected (images, sites, tokens, width) with "
                f"{expected[0]} sites ({', '.join(names)}), {expected[1]} tokens and width {expected[2]}"
            )
        if missing := [name for name in own.sites if name not in names]:
            raise LosaError(
                f"activations: expected those of the sites {', '.join(own.sites)}; found none of "
                f"{', '.join(missing)}, but of {', '.join(names)}"
            )

    def keep(self, members: Sequence[int]) -> None:
        """Keep only some members; the parameters are replaced by new objects.

        Args:
            members: positions of the members to keep, in their new order.
        """
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                chosen = parameter.detach()[list(members)].clone()
                setattr(module, name, nn.Parameter(chosen))
        self.members = len(members)

    def parameter_count(self) -> int:
        """Number of trainable parameters of one member, head included."""
        return sum(parameter.numel() for parameter in self.parameters()) // self.members

    def head_parameter_count(self) -> int:
        """Number of trainable parameters of one member's head, and of its probe."""
        classifiers = (self.head, self.probe)
        return sum(each.numel() for part in classifiers if part for each in part.parameters()) // self.members
