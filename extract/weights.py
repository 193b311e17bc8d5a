"""The tensors of a timm model that are those of the backbone, and their hash."""

import hashlib
from typing import Any, cast

import torch
from torch import Tensor, nn

from losa.cache_format.errors import LosaError


def head_names(model: nn.Module) -> set[str]:
    """Names of the classification heads of a timm model. losa does not run them.

    The classifier of many ConvNets is ``head.fc``; what is beside it in ``head`` follows the last stage, too.

    Raises:
        LosaError: the model's configuration does not name them by texts.
    """
    found = cast(Any, model).pretrained_cfg.get("classifier") or ()
    classifiers = (found,) if isinstance(found, str) else found
    if not isinstance(classifiers, list | tuple) or not all(isinstance(name, str) for name in classifiers):
        raise LosaError(
            f"the configuration of the model (pretrained_cfg) has classifier {found!r:.80}: expected the "
            "name of the layer that classifies, or a list of such names"
        )
    return {name.split(".")[0] for name in classifiers}


def backbone_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a timm model, by name, without those of its classification heads."""
    heads = head_names(model)
    return {name: value for name, value in model.state_dict().items() if name.split(".")[0] not in heads}


def hash_weights(model: nn.Module) -> str:
    """sha256 of names, dtypes, shapes and bytes of all tensors except those of the classification heads."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone_tensors(model).items()):
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
