"""A trained side network, together with what its inputs and outputs mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from losa.adapt.side_networks import SideNetwork
from losa.adapt.streams import FrozenFeatures
from losa.cache_format import LabelColumn
from losa.cache_format.identity import BackboneIdentity, Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedSideNetwork:
    """The network of one member, and the identity of the features that it was trained on."""

    network: SideNetwork
    """A network of one member, in eval mode."""
    columns: tuple[LabelColumn, ...]
    """Label columns with the names of their classes, in the order of their class scores in the output."""
    backbone: BackboneIdentity
    """The backbone that it was trained on."""
    preprocessing: Preprocessing
    """What made the backbone's inputs of images."""
    features_sha256: str
    """Hash of the feature identity of the cache that the network was trained from."""
    tensors_sha256: str
    """Hash of the file of its tensors."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where the backbone's weights come from, as `losa.extract.FrozenBackbone.origin`."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites whose activations the network reads, in order."""
        return self.network.features.sites

    def scores(
        self,
        activations: Float[Tensor, "images sites tokens width"]
        | Float[np.ndarray, "images sites tokens width"],
    ) -> dict[str, Float[Tensor, "images classes"]]:
        """Class scores of each label column, by its name, in float32; no gradients are kept.

        Args:
            activations: activations of `sites`, in this order, as `Cache.activations` returns them; they are
                copied to the device of the network.

        Returns:
            Label column -> ``(images, classes)``, on the device of the network. A softmax of them gives
            probabilities.

        Raises:
            LosaError: activations of another number of sites, tokens or channels, or that require gradients.
        """
        device = next(self.network.parameters()).device
        features = FrozenFeatures(torch.as_tensor(activations, dtype=torch.float32, device=device))
        with torch.no_grad():
            (scores,) = self.network(features)
        parts = split_columns(scores, self.columns)
        return {column.name: part for column, part in zip(self.columns, parts, strict=True)}


def split_columns(
    scores: Float[Tensor, "*images _"], columns: Sequence[LabelColumn]
) -> tuple[Float[Tensor, "*images _"], ...]:
    """Class scores of each label column."""
    parts: tuple[Tensor, ...] = scores.split([column.num_classes for column in columns], dim=-1)
    return parts
