"""LoRA (Hu et al., arXiv 2106.09685) in a live backbone, by HF peft."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from losa.cache_format import LosaError
from losa.pipelines.bench.live.head import add_head

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
    """Return a timm vision transformer with LoRA in some layers and a new head.

    The updates are not scaled (alpha equals the rank) and start at zero. All other parameters of the backbone
    are frozen.

    Args:
        backbone: a vision transformer, changed in place.
        rank: rank of the updates.
        targets: names of the linear layers that get an update, in every block.
        num_classes: number of class scores.
        seed: seed of the initialisation.

    Raises:
        LosaError: peft is missing, the backbone has no layer of these names, or `add_head` refuses it.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise LosaError(f"LoRA needs peft: pip install 'losa[bench]' ({error})") from None
    model = add_head(backbone, num_classes=num_classes, seed=seed)
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


def merged(model: nn.Module) -> nn.Module:
    """A model as it is used: LoRA's updates are added to the weights; other models are as they were."""
    merge = getattr(model, "merge_and_unload", None)
    return model if merge is None else cast(nn.Module, merge())
