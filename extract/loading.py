"""Makes the backbone that the options describe, with its weights."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import nn

from losa.cache_format.errors import LosaError
from losa.cache_format.storage.paths import local_path
from losa.extract.backbone import FrozenBackbone
from losa.extract.backbone_names import ADVICE, HUB, NamedBackbone, find_backbone
from losa.extract.causes import short_cause
from losa.extract.checkpoints import load_checkpoint
from losa.extract.config import BackboneConfig
from losa.extract.grid_pooling import Grid
from losa.extract.hub import hub_or_copies

_RESERVED = {
    "img_size": "use backbone.img_size",
    "pretrained": "use backbone.pretrained",
    "checkpoint_path": "use backbone.checkpoint",
    "pretrained_cfg": "choose weights by backbone.name, and the preprocessing by its own options",
    "pretrained_cfg_overlay": "choose weights by backbone.name, and the preprocessing by its own options",
    "num_classes": "losa does not run the classification head",
    "in_chans": "losa feeds RGB images",
    "features_only": "sites=... says where activations are read",
    "out_indices": "sites=... says where activations are read",
    "device": "use device=...",
    "dtype": "use dtype=...",
}
"""Arguments that options of losa set, or that contradict what losa does with the model."""


def load_backbone(config: BackboneConfig, grid: Grid | None = None, frames: int = 1) -> FrozenBackbone:
    """Create a backbone with weights from a file, a folder or the hub, or with random ones if requested.

    Args:
        config: the model and its weights.
        grid: height and width in tokens to which the grid is mean-pooled; None: it stays as it is.
        frames: number of frames of a clip; 1 for images.

    Returns:
        The backbone, on the CPU.

    Raises:
        LosaError: there is no such model, it cannot be made with these arguments or this image size, or its
            weights cannot be loaded or do not fit. Random weights never replace trained ones silently.
    """
    for argument in config.args or {}:
        if argument in _RESERVED:
            raise LosaError(f"backbone.args: {argument} cannot be set there: {_RESERVED[argument]}")
    with hub_or_copies() if config.name.startswith(HUB) else nullcontext():
        named = find_backbone(config.name)
        checkpoint = _file_of_weights(config, named)
    size = (config.img_size, config.img_size) if isinstance(config.img_size, int) else config.img_size
    img_size = None if size is None else (size[0], size[1])
    if checkpoint is None and config.pretrained:
        model = _pretrained(config, named, img_size)
    else:
        model = _random(config, named, img_size)
    if img_size is not None:
        _refuse_parts_of_patches(model, img_size)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, resample=img_size is not None)
    return FrozenBackbone(
        model,
        named.name,
        img_size=img_size,
        architecture=None if named.name.split(".")[0] == named.architecture else named.architecture,
        arguments=_determining(named.arguments | (config.args or {})),
        origin=_origin(config, named, model),
        grid=grid,
        frames=frames,
    )


def _file_of_weights(config: BackboneConfig, named: NamedBackbone) -> Path | None:
    """The file of weights to load; None for random weights, and for those that timm finds by itself."""
    if config.checkpoint is not None:
        path = local_path(config.checkpoint)
        if not path.is_file():
            raise LosaError(f"backbone.checkpoint: there is no file {path}")
        return path
    return named.weights() if config.pretrained else None


def _pretrained(config: BackboneConfig, named: NamedBackbone, img_size: tuple[int, int] | None) -> nn.Module:
    """A model with the weights that timm has for it, with position embeddings resampled to the image size."""
    arguments = _arguments(config, named, img_size)
    try:
        with hub_or_copies():
            return timm.create_model(named.timm_name, pretrained=True, **arguments)
    except Exception as error:
        raise LosaError(
            f"the pretrained weights of {config.name} could not be loaded: {short_cause(error)}\n{ADVICE}"
        ) from error


def _random(config: BackboneConfig, named: NamedBackbone, img_size: tuple[int, int] | None) -> nn.Module:
    arguments = _arguments(config, named, img_size)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return timm.create_model(named.timm_name, pretrained=False, **arguments)
    except Exception as error:  # whatever the constructor of a model makes of its arguments
        options = {"backbone.args": config.args, "backbone.img_size": config.img_size}
        given = " ".join(f"{option}={value}" for option, value in options.items() if value)
        raise LosaError(
            f"backbone.name={config.name} {given}: timm cannot make this model: {short_cause(error)}"
        ) from error


def _arguments(
    config: BackboneConfig, named: NamedBackbone, img_size: tuple[int, int] | None
) -> dict[str, Any]:
    """Arguments for timm. Models of a fixed image size have one for the size; the others take any size."""
    known = timm.get_pretrained_cfg(named.architecture)
    fixed = known is not None and known.fixed_input_size
    return (config.args or {}) | ({"img_size": img_size} if fixed and img_size is not None else {})


def _refuse_parts_of_patches(model: nn.Module, img_size: tuple[int, int]) -> None:
    """Refuse an image size that is no multiple of the patches: timm would not look at the rest."""
    for module in model.modules():
        if isinstance(module, PatchEmbed) and not module.dynamic_img_pad:
            patch = module.patch_size
            below = [max(size // side, 1) * side for size, side in zip(img_size, patch, strict=True)]
            if below != list(img_size):
                raise LosaError(
                    f"backbone.img_size={_option(img_size)}: expected multiples of the patches of this "
                    f"model, {patch[0]} x {patch[1]} pixels, such as backbone.img_size={_option(below)}"
                )


def _option(values: Sequence[int]) -> str:
    return f"[{','.join(map(str, values))}]"


def _determining(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those of the head and of training, and without the size of the image."""
    return {
        name: value
        for name, value in arguments.items()
        if value is not None and not re.search(r"^num_classes$|^img_size$|drop_(path_|block_)?rate$", name)
    }


def _origin(config: BackboneConfig, named: NamedBackbone, model: nn.Module) -> dict[str, str]:
    """Where the weights come from. What they are is in the identity, as their hash."""
    origin = {"architecture": named.architecture}
    if config.name != named.name:
        origin["requested_backbone"] = config.name
    if config.checkpoint is not None:
        return origin | {"checkpoint": Path(config.checkpoint).name}
    if not config.pretrained:
        return origin | {"random_weights": f"seed {config.seed}"}
    if named.revision is not None:
        origin["revision"] = named.revision
    tag = named.tag if named.file else cast(Any, model).pretrained_cfg.get("tag")
    return origin | ({"pretrained_tag": tag} if tag else {})
