"""Trained side networks of one backbone, computed together."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.adapt.side_networks import SideNetwork
from losa.adapt.streams import FrozenFeatures
from losa.adapt.trained.side_network import TrainedSideNetwork
from losa.cache_format import LabelColumn, LosaError
from losa.cache_format.common.comparison import differences
from losa.cache_format.common.units import counted
from losa.cache_format.errors import Difference
from losa.cache_format.identity import BackboneIdentity, Preprocessing, TokenLayout
from losa.cache_format.sites import in_order


class StackedSideNetworks(nn.Module):
    """Side networks of one backbone. They share the frozen features, and those of one shape are one network.

    Attributes:
        names: name of each side network, in the order of their scores.
        members: for each of them, the side networks whose mean it is: itself, if it is no ensemble.
        columns: label columns of each side network, in the same order.
        sites: the sites that they read: sums, then the others from input to output.
        tokens: the layout of the tokens that they read.
        backbone: identity of the backbone that they were trained on.
        preprocessing: what made the backbone's inputs of images.
        origin: where the backbone's weights come from.
    """

    def __init__(self, trained: Mapping[str, TrainedSideNetwork]) -> None:
        """Join networks of equal shape along the members axis.

        Args:
            trained: name -> side network.

        Raises:
            LosaError: there is none, or they were trained on different backbones or inputs.
        """
        super().__init__()
        if not trained:
            raise LosaError("there are no side networks")
        _refuse_other_backbones(trained)
        first = next(iter(trained.values()))
        self.names = tuple(trained)
        self.members: tuple[tuple[str, ...], ...] = tuple((name,) for name in trained)
        self.columns: tuple[tuple[LabelColumn, ...], ...] = tuple(each.columns for each in trained.values())
        self.sites = in_order({site for each in trained.values() for site in each.sites})
        self.tokens: TokenLayout = first.network.features.tokens
        self.backbone: BackboneIdentity = first.backbone
        self.preprocessing: Preprocessing = first.preprocessing
        self.origin = dict(first.origin)
        alike: dict[object, list[int]] = {}
        networks = [each.network for each in trained.values()]
        for number, network in enumerate(networks):
            alike.setdefault(_shape(network), []).append(number)
        self._groups = list(alike.values())
        self.networks = nn.ModuleList(
            _joined([networks[number] for number in group]) for group in self._groups
        )
        self.eval().requires_grad_(False)

    def __len__(self) -> int:
        """Number of side networks."""
        return len(self.names)

    @property
    def title(self) -> str:
        """What they are, for messages: "2 side networks"."""
        return counted(len(self), "side network", "side networks")

    def forward(
        self,
        activations: Float[Tensor, "images sites tokens width"],
        sites: Sequence[str] | None = None,
    ) -> tuple[Float[Tensor, "images _"], ...]:
        """Class scores of each side network, over all its label columns.

        Args:
            activations: activations on the device of the networks, float32.
            sites: names along the sites axis of the activations; None if they are exactly `sites`.

        Returns:
            float32 ``(images, classes)`` for each of `names`, in their order; `columns` says which of the
            classes are whose.

        Raises:
            LosaError: activations of another number of tokens or channels, or that lack a site.
        """
        features = FrozenFeatures(activations, sites=self.sites if sites is None else sites)
        scores: dict[int, Tensor] = {}
        for group, network in zip(self._groups, self.networks, strict=True):
            scores |= zip(group, network(features).unbind(), strict=True)
        return tuple(scores[number] for number in range(len(scores)))


def first_difference(
    trained: Mapping[str, TrainedSideNetwork], facts: Callable[[TrainedSideNetwork], object]
) -> tuple[str, str, list[Difference]] | None:
    """The first side network and one of which other facts are true, and in what they differ."""
    (first, expected), *others = trained.items()
    for name, found in others:
        if different := differences(facts(expected), facts(found)):
            return first, name, different
    return None


def _refuse_other_backbones(trained: Mapping[str, TrainedSideNetwork]) -> None:
    if (found := first_difference(trained, _inputs)) is not None:
        first, other, different = found
        listed = "\n".join(f"  {field}: {ours} and {theirs}" for field, ours, theirs in different)
        raise LosaError(
            f"side networks that are computed together need one backbone and the same inputs; {first} "
            f"and {other} differ in\n{listed}"
        )


def _inputs(trained: TrainedSideNetwork) -> dict[str, object]:
    """What determines the activations that it reads."""
    return {
        "backbone": trained.backbone,
        "preprocessing": trained.preprocessing,
        "tokens": trained.network.features.tokens,
        "width": trained.network.features.width,
    }


def _shape(network: SideNetwork) -> object:
    """What networks must have in common to be members of one network."""
    features = network.features
    constants = {name: value.cpu().numpy().tobytes() for name, value in network.named_buffers()}
    digest = hashlib.sha256(repr(sorted(constants.items())).encode()).hexdigest()
    return (
        repr(network.architecture),
        features.sites,
        repr(features.tokens),
        features.width,
        repr(features.final_norm),
        network.num_classes,
        digest,
    )


def _joined(networks: Sequence[SideNetwork]) -> SideNetwork:
    joined = copy.deepcopy(networks[0])
    joined.requires_grad_(False)
    for name, parameter in joined.named_parameters():
        parts = [network.get_parameter(name).detach() for network in networks]
        parameter.data = torch.cat(parts)
    joined.members = sum(network.members for network in networks)
    return joined
