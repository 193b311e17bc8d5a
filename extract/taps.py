"""Where activations are read in a timm model: at the blocks of a plain transformer, or at stages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from losa.cache_format.errors import LosaError
from losa.cache_format.identity import TokenLayout
from losa.cache_format.sites import EMBED, backbone_sites, block_site, stage_site
from losa.extract.causes import short_cause


@dataclass(frozen=True, slots=True)
class SiteShape:
    """The shape of the activations of one image at a site: tokens and channels."""

    tokens: TokenLayout
    width: int

    def __str__(self) -> str:
        height, columns = self.tokens.grid
        prefix = f" + {self.tokens.prefix}" if self.tokens.prefix else ""
        return f"{height} x {columns}{prefix} tokens of {self.width} channels"


class Taps(Protocol):
    """Reads activations of a model at its sites."""

    @property
    def shapes(self) -> Mapping[str, SiteShape]:
        """Name of every site, from input to output, and the shape of its activations."""
        ...

    def read(
        self, images: Float[Tensor, "images channels height columns"], sites: Sequence[str]
    ) -> list[Float[Tensor, "images tokens width"]]:
        """Run the model on at least one image and return its activations at some sites, in their order."""
        ...


class BlockTaps:
    """The residual stream of a transformer with one token axis, before its first and after every block."""

    def __init__(self, model: nn.Module, input_size: tuple[int, int, int]) -> None:
        """Run the model once, on a black image, to find out the shape of its tokens.

        Raises:
            LosaError: the model is not such a transformer; the message says why.
        """
        blocks = getattr(model, "blocks", None)
        if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not hasattr(model, "forward_features"):
            raise LosaError("it has no list of blocks")
        self._model = cast(Any, model)
        self._blocks = list(blocks)
        sites = backbone_sites(len(self._blocks))
        found = {tuple(tokens.shape) for tokens in self.read(torch.zeros(1, *input_size), sites)}
        if len(found) > 1 or len(next(iter(found))) != 3:
            raise LosaError("its blocks do not keep one token axis")
        _, count, width = found.pop()
        tokens = self._layout(input_size)
        if tokens.count != count:
            raise LosaError(f"{count} tokens leave its blocks, but prefix and grid make {tokens.count}")
        self.shapes = dict.fromkeys(sites, SiteShape(tokens, width))

    def read(
        self, images: Float[Tensor, "images channels height columns"], sites: Sequence[str]
    ) -> list[Float[Tensor, "images tokens width"]]:
        """See `Taps`."""
        with self._tapped(sites) as taps:
            self._model.forward_features(images)
        return [taps[site] for site in sites]

    def _layout(self, input_size: tuple[int, int, int]) -> TokenLayout:
        prefix = int(self._model.num_prefix_tokens)
        # Not num_reg_tokens: timm's Eva models, such as DINOv3, have register tokens but no such attribute.
        register_tokens = getattr(self._model, "reg_token", None)
        registers = 0 if register_tokens is None else int(register_tokens.shape[1])
        height, columns = self._model.patch_embed.dynamic_feat_size(input_size[1:])
        return TokenLayout(cls=prefix - registers, registers=registers, grid=(height, columns))

    @contextmanager
    def _tapped(self, sites: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        taps: dict[str, Tensor] = {}
        handles = []
        for index, block in enumerate(self._blocks):
            if block_site(index) in sites:
                handles.append(block.register_forward_hook(_keep_output(taps, block_site(index))))
        if EMBED in sites:
            handles.append(self._blocks[0].register_forward_pre_hook(_keep_input(taps)))
        try:
            yield taps
        finally:
            for handle in handles:
                handle.remove()


class StageTaps:
    """The feature maps that timm's ``forward_intermediates`` returns, position by position as tokens.

    They have no prefix tokens. Their shapes may differ, as where the grid halves from stage to stage.
    """

    def __init__(self, model: nn.Module, input_size: tuple[int, int, int]) -> None:
        """Run the model once, on a black image, to find out its feature maps.

        Raises:
            LosaError: the model does not return feature maps; the message says why.
        """
        if not hasattr(model, "forward_intermediates"):
            raise LosaError("it has no forward_intermediates")
        self._model = cast(Any, model)
        maps = self._maps(torch.zeros(1, *input_size), None)
        shapes = [_shape_of(one) for one in maps]
        # Maps of one shape that timm takes after every block are named as those of a plain transformer.
        plain = _are_of_blocks(model) and len(set(shapes)) == 1
        name = block_site if plain else stage_site
        self.shapes = {name(index): shape for index, shape in enumerate(shapes)}

    def read(
        self, images: Float[Tensor, "images channels height columns"], sites: Sequence[str]
    ) -> list[Float[Tensor, "images tokens width"]]:
        """See `Taps`."""
        names = list(self.shapes)
        indices = sorted(names.index(site) for site in sites)
        maps = dict(zip(indices, self._maps(images, indices), strict=True))
        return [maps[names.index(site)].flatten(2).transpose(1, 2) for site in sites]

    def _maps(self, images: Tensor, indices: list[int] | None) -> list[Tensor]:
        maps = self._model.forward_intermediates(
            images,
            indices=indices,
            norm=False,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return cast(list[Tensor], maps)


def tap(model: nn.Module, input_size: tuple[int, int, int]) -> Taps:
    """The taps of a model: those of its blocks if they keep one token axis, and those of its stages if not.

    Args:
        model: a timm model in eval mode.
        input_size: channels, height and width of the images.

    Raises:
        LosaError: the model has neither; the message says why.
    """
    reasons = []
    for kind in (BlockTaps, StageTaps):
        try:
            with torch.inference_mode():
                return kind(model, input_size)
        except Exception as error:  # a model of timm may fail in any way where it is not made for this
            reasons.append(str(error) if isinstance(error, LosaError) else short_cause(error))
    raise LosaError(
        f"losa reads activations after the blocks of a transformer, or where timm takes features, and "
        f"{type(model).__name__} gives neither on images of {input_size[1]} x {input_size[2]}: "
        + "; ".join(dict.fromkeys(reasons))
    )


def _are_of_blocks(model: nn.Module) -> bool:
    """Whether timm takes the feature maps of a model after each item of one list of blocks."""
    modules = [str(info.get("module")) for info in getattr(model, "feature_info", ())]
    return bool(modules) and all(
        re.search(rf"\bblocks\.{index}$", module) for index, module in enumerate(modules)
    )


def _shape_of(feature_map: Tensor) -> SiteShape:
    _, width, height, columns = feature_map.shape
    return SiteShape(TokenLayout(cls=0, registers=0, grid=(height, columns)), width)


def _keep_output(taps: dict[str, Tensor], site: str) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        taps[site] = output

    return hook


def _keep_input(taps: dict[str, Tensor]) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        taps[EMBED] = inputs[0]

    return hook
