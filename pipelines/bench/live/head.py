"""A frozen backbone with a new head, which every method trains. Alone, it is the linear probe."""

from typing import Any

import torch
from torch import nn

from losa.adapt.side_networks.head import HEAD_STD
from losa.adapt.side_networks.parameters import seeded_normal
from losa.cache_format import LosaError


def add_head(backbone: nn.Module, *, num_classes: int, seed: int) -> nn.Module:
    """Freeze a timm vision transformer and give it a new head on its cls token.

    The head follows the backbone's final norm and is initialised like the heads of side networks.

    Args:
        backbone: a vision transformer, changed in place and returned.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: the backbone has no cls token, or more heads than one.
    """
    model: Any = backbone.requires_grad_(False)
    if getattr(model, "cls_token", None) is None:
        raise LosaError(f"{type(model).__name__} has no cls token, which the head of this comparison reads")
    model.reset_classifier(num_classes, global_pool="token")
    found = sorted(name for name, weight in model.named_parameters() if weight.requires_grad)
    if found != ["head.bias", "head.weight"]:
        raise LosaError(
            f"{type(model).__name__}: expected a single linear head on the cls token, found the parameters "
            f"{', '.join(found)}"
        )
    with torch.no_grad():
        model.head.weight.copy_(seeded_normal(seed, "head.weight", model.head.weight.shape[::-1], HEAD_STD).T)
        model.head.bias.zero_()
    return backbone
