"""A live backbone with LoRA (arXiv 2106.09685, by HF peft), with which side networks are compared."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from losa.adapt.side_networks.head import HEAD_STD
from losa.adapt.side_networks.parameters import seeded_normal
from losa.cache_format import LosaError

TARGETS = ("qkv",)
"""Linear layers that get an update. In timm, queries, keys and values are one layer."""


def peft_is_installed() -> bool:
    """Whether HF peft can be imported; losa does not depend on it."""
    try:
        import peft  # noqa: F401
    except ImportError:
        return False
    return True


def add_lora(
    backbone: nn.Module, *, rank: int, targets: Sequence[str], num_classes: int, seed: int
) -> nn.Module:
    """Return a timm vision transformer with LoRA in some layers and a new head on its cls token.

    The updates are not scaled (alpha equals the rank). All other parameters of the backbone are frozen. The
    head follows the backbone's final norm and is initialised like the heads of side networks.

    Args:
        backbone: a vision transformer, changed in place.
        rank: rank of the updates.
        targets: names of the linear layers that get an update, in every block.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: peft is missing, the backbone has no cls token, or it has no layer of these names.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise LosaError(f"LoRA needs peft: pip install 'losa[bench]' ({error})") from None
    model: Any = backbone
    if getattr(model, "cls_token", None) is None:
        raise LosaError(f"{type(model).__name__} has no cls token, which the head of this comparison reads")
    model.reset_classifier(num_classes, global_pool="token")
    with torch.no_grad():
        model.head.weight.copy_(seeded_normal(seed, "head.weight", model.head.weight.shape[::-1], HEAD_STD).T)
        model.head.bias.zero_()
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=list(targets), modules_to_save=["head"], lora_dropout=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            wrapped: nn.Module = get_peft_model(model, config)
        except ValueError as error:
            raise LosaError(f"--targets {','.join(targets)}: {error}") from None
    return wrapped
