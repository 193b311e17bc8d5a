"""The head, which maps the pooled stream to class scores: the backbone's final norm, then a linear layer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from losa.adapt.features import FeatureSpec
from losa.adapt.side_networks.parameters import member_constant, member_normal
from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT

FINAL_NORM_BUFFERS = {NORM_WEIGHT: "final_norm_weight", NORM_BIAS: "final_norm_bias"}
"""Names of a cache's constants and of the head's buffers for them; a buffer is None if the norm lacks it."""
HEAD_STD = 0.01
"""Standard deviation of the initial weights: small, so that all classes start about equally likely."""


class LinearClassifier(nn.Module):
    """A linear layer from ``inputs`` to class scores for each member."""

    def __init__(self, inputs: int, num_classes: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self.weight = member_normal(seeds, "head.weight", (inputs, num_classes), HEAD_STD)
        self.bias = member_constant(seeds, (num_classes,), 0.0)

    def classify(
        self, hidden: Float[Tensor, "members images inputs"]
    ) -> Float[Tensor, "members images classes"]:
        """Apply the linear layer."""
        return hidden @ self.weight + self.bias[:, None]


class Head(LinearClassifier):
    """A frozen norm and a linear layer for each member.

    The weights of the norm are constants of the cache. There is no norm if the backbone has no final norm.
    """

    def __init__(
        self, features: FeatureSpec, num_classes: int, seeds: Sequence[int], inputs: int | None = None
    ) -> None:
        """Build the norm and the linear layer.

        Args:
            features: the features, with their final norm.
            num_classes: number of classes.
            seeds: initialisation seed of each member.
            inputs: number of inputs of the linear layer; None for the features' width.
        """
        super().__init__(inputs or features.width, num_classes, seeds)
        self._final_norm = features.final_norm
        for constant, buffer in FINAL_NORM_BUFFERS.items():
            array = features.constants.get(constant)
            self.register_buffer(buffer, None if array is None else torch.from_numpy(array.copy()))

    def forward(
        self, pooled: Float[Tensor, "members images width"]
    ) -> Float[Tensor, "members images classes"]:
        """Class scores of the pooled stream."""
        return self.classify(self.normalise(pooled))

    def normalise(
        self, pooled: Float[Tensor, "members images width"]
    ) -> Float[Tensor, "members images width"]:
        """Apply the final norm alone, in the dtype of the weights."""
        pooled = pooled.to(self.weight.dtype)
        norm = self._final_norm
        if norm is None:
            return pooled
        weight, bias = (getattr(self, buffer) for buffer in FINAL_NORM_BUFFERS.values())
        if norm.kind == "layer_norm":
            return functional.layer_norm(pooled, pooled.shape[-1:], weight, bias, norm.eps)
        return functional.rms_norm(pooled, pooled.shape[-1:], weight, norm.eps)
