"""From the pooled stream to class scores: the backbone's own final norm, then a linear head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from losa.adapt.features import FeatureSpec
from losa.adapt.parameters import member_constant, member_normal
from losa.cache_format.constants import NORM_BIAS, NORM_WEIGHT

HEAD_STD = 0.01
"""Small, so that training starts near equal class probabilities."""


class Head(nn.Module):
    """The final norm is frozen: its weights come with the cache. Without one the pooled vector is used."""

    def __init__(self, features: FeatureSpec, num_classes: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self._final_norm = features.final_norm
        for name in (NORM_WEIGHT, NORM_BIAS):
            if name in features.constants:
                array = torch.from_numpy(features.constants[name].copy())
                self.register_buffer(_buffer_name(name), array)
        self.weight = member_normal(seeds, "head.weight", (features.width, num_classes), HEAD_STD)
        self.bias = member_constant(seeds, (num_classes,), 0.0)

    def forward(
        self, pooled: Float[Tensor, "members images width"]
    ) -> Float[Tensor, "members images classes"]:
        """Class scores."""
        return self._normalised(pooled) @ self.weight + self.bias[:, None]

    def _normalised(self, pooled: Tensor) -> Tensor:
        norm = self._final_norm
        if norm is None:
            return pooled
        buffers = dict(self.named_buffers())
        weight, bias = buffers.get(_buffer_name(NORM_WEIGHT)), buffers.get(_buffer_name(NORM_BIAS))
        if norm.kind == "layer_norm":
            return functional.layer_norm(pooled, pooled.shape[-1:], weight, bias, norm.eps)
        return functional.rms_norm(pooled, pooled.shape[-1:], weight, norm.eps)


def _buffer_name(constant: str) -> str:
    return constant.replace(".", "_")
