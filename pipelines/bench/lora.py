"""LoRA through the live backbone (arXiv 2106.09685, by HF peft): what side networks are compared with."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from losa.adapt.side_networks.head import HEAD_STD
from losa.adapt.side_networks.parameters import seeded_normal
from losa.cache_format import LosaError

TARGETS = ("qkv",)
"""timm has queries, keys and values in one linear layer."""


def peft_is_installed() -> bool:
    """Whether HF peft can be imported; it is no dependency of losa."""
    try:
        import peft  # noqa: F401
    except ImportError:
        return False
    return True


def add_lora(
    backbone: nn.Module, *, rank: int, targets: Sequence[str], num_classes: int, seed: int
) -> nn.Module:
    """A timm vision transformer with LoRA in some of its layers and a new head on its cls token.

    The updates are not scaled (alpha equals the rank). All other parameters of the backbone are frozen. The
    head is initialised as those of side networks are; it comes after the backbone's final norm.

    Args:
        backbone: changed in place.
        rank: of the updates.
        targets: names of the linear layers that get one, in every block.
        num_classes: width of the scores.
        seed: of the initialisation.

    Raises:
        LosaError: peft is missing, the backbone has no cls token, or it has no such layers.
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
