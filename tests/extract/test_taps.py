"""Sites of many architectures of timm, each against timm's own ``forward_intermediates``."""

from typing import Any

import pytest
import torch
from torch import nn

from losa.cache_format import LosaError
from losa.cache_format.identity import TokenLayout
from losa.extract import BackboneConfig, load_backbone
from losa.extract.taps import SiteShape, tap

SMALL = {"embed_dim": 32, "num_heads": 2, "depth": 2}
WINDOWS = {"embed_dim": 16, "num_heads": [1, 1, 1, 1], "depths": [1, 1, 1, 1]}

# name -> (side of the image, arguments that make it small, class tokens, register tokens)
TRANSFORMERS: dict[str, tuple[int, dict[str, Any], int, int]] = {
    "vit_tiny_patch16_224": (32, {"depth": 2}, 1, 0),
    "vit_base_patch8_224.dino": (16, SMALL, 1, 0),
    "vit_base_patch16_224.mae": (32, SMALL, 1, 0),
    "vit_base_patch16_clip_224": (32, SMALL, 1, 0),
    "vit_base_patch16_clip_quickgelu_224": (32, SMALL, 1, 0),
    "vit_base_patch16_siglip_224": (32, SMALL, 0, 0),
    "vit_base_patch16_rpn_224": (32, SMALL, 0, 0),
    "vit_base_patch16_xp_224": (32, SMALL, 1, 0),
    "vit_relpos_base_patch16_224": (32, SMALL, 0, 0),
    "vit_srelpos_small_patch16_224": (32, SMALL, 0, 0),
    "vit_small_patch14_dinov2": (28, SMALL, 1, 0),
    "vit_small_patch14_reg4_dinov2": (28, SMALL, 1, 4),
    "vit_small_patch16_dinov3": (32, SMALL, 1, 4),
    "vit_small_patch16_rope_ape_224": (32, SMALL, 1, 0),
    "vit_base_patch16_rope_mixed_224": (32, SMALL, 1, 0),
    "vit_pe_core_tiny_patch16_384": (32, {"depth": 2}, 1, 0),
    "vit_tiny_r_s16_p8_224": (32, {"depth": 2}, 1, 0),
    "flexivit_small": (32, SMALL, 1, 0),
    "aimv2_large_patch14_224": (28, SMALL, 0, 0),
    "deit_tiny_distilled_patch16_224": (32, {"depth": 2}, 2, 0),
    "deit3_small_patch16_224": (32, SMALL, 1, 0),
    "beit_base_patch16_224": (32, SMALL, 1, 0),
    "beitv2_base_patch16_224": (32, SMALL, 1, 0),
    "eva02_tiny_patch14_224": (28, SMALL, 1, 0),
}
# The blocks of these keep the tokens of a grid, but not one token axis with all else.
GRIDS: dict[str, tuple[int, dict[str, Any]]] = {
    "cait_xxs24_224": (32, {"depth": 2}),
    "convit_tiny": (32, {"depth": 2, "local_up_to_layer": 1}),
    "mixer_s32_224": (64, {}),
    "naflexvit_base_patch16_gap": (32, SMALL),
    "samvit_base_patch16_224": (32, SMALL | {"global_attn_indexes": [0]}),
    "tnt_s_patch16_224": (32, {"depth": 2}),
    "xcit_nano_12_p16_224": (32, {"depth": 2}),
}
STAGES: dict[str, tuple[int, dict[str, Any]]] = {
    "coat_lite_tiny": (64, {}),
    "convnext_atto": (32, {"depths": [1, 1, 1, 1]}),
    "convnextv2_atto": (32, {"depths": [1, 1, 1, 1]}),
    "edgenext_xx_small": (64, {}),
    "efficientnet_b0": (32, {}),
    "efficientvit_b0": (64, {}),
    "hiera_tiny_224": (64, {"stages": [1, 1, 1, 1]}),
    "levit_128s": (64, {}),
    "mobilenetv3_small_100": (32, {}),
    "mobilevit_xxs": (64, {}),
    "mvitv2_tiny": (64, {}),
    "nextvit_small": (32, {}),
    "pit_ti_224": (64, {}),
    "pvt_v2_b0": (64, {}),
    "regnety_002": (32, {}),
    "resnet18": (32, {}),
    "swin_tiny_patch4_window7_224": (56, WINDOWS),
    "swinv2_tiny_window8_256": (64, WINDOWS),
    "test_mambaout": (64, {}),
    "test_maxvit": (64, {}),
    "twins_pcpvt_small": (64, {"depths": [1, 1, 1, 1]}),
    "volo_d1_224": (64, {}),
}


@pytest.fixture(scope="module", autouse=True)
def _shapes_are_not_checked(shapes_are_not_checked):
    """Most of the time of so many tiny models would be spent on it."""


def load(name: str, side: int, arguments: dict[str, Any]):
    return load_backbone(BackboneConfig(name=name, pretrained=False, img_size=side, args=arguments))


def compare_with_timm(backbone) -> None:
    """Every site alone, and all sites of each shape together."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, *backbone.preprocessing.input_size, generator=generator)
    with torch.inference_mode():
        maps = backbone.model.forward_intermediates(
            images, norm=False, output_fmt="NCHW", intermediates_only=True
        )
    sites = [site for site in backbone.sites if site != "embed"]
    expected = dict(zip(sites, (one.flatten(2).transpose(1, 2) for one in maps), strict=True))
    shapes = {}
    for site in sites:
        group = backbone.group([site])
        found = backbone.activations(images, [site])
        assert found.shape == (2, 1, group.tokens.count, group.width)
        assert torch.equal(found[:, 0, group.tokens.prefix :], expected[site]), site
        shapes.setdefault((group.tokens, group.width), []).append(site)
    for same in shapes.values():
        together = backbone.activations(images, same[::-1])
        prefix = together.shape[2] - expected[same[0]].shape[1]
        assert torch.equal(together[:, :, prefix:], torch.stack([expected[s] for s in same[::-1]], dim=1))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_plain_transformers(name: str) -> None:
    side, arguments, cls, registers = TRANSFORMERS[name]
    backbone = load(name, side, arguments)
    assert backbone.sites == ("embed", "block.00", "block.01")
    tokens = backbone.group("all").tokens
    assert (tokens.cls, tokens.registers) == (cls, registers)
    compare_with_timm(backbone)


@pytest.mark.parametrize("name", GRIDS)
def test_transformers_whose_blocks_keep_a_grid(name: str) -> None:
    backbone = load(name, *GRIDS[name])
    assert backbone.sites[:2] == ("block.00", "block.01")
    assert backbone.group("all").tokens == TokenLayout(cls=0, registers=0, grid=(2, 2))
    assert backbone.final_norm is None
    compare_with_timm(backbone)


@pytest.mark.parametrize("name", STAGES)
def test_networks_of_stages(name: str) -> None:
    backbone = load(name, *STAGES[name])
    assert backbone.sites[0] == "stage.00"
    assert backbone.identity.depth == len(backbone.sites)
    compare_with_timm(backbone)
    last = backbone.group(1)
    assert last.sites == backbone.sites[-1:]
    with pytest.raises(LosaError) as caught:
        backbone.group("all")
    height, columns = last.tokens.grid
    assert str(caught.value).startswith(
        "sites=all: a cache holds activations of one shape, and those at stage.00"
    )
    assert f"  {last.sites[0]}: {height} x {columns} tokens of {last.width} channels\n" in str(caught.value)
    named = str(caught.value).rpartition("sites=[")[2].removesuffix("]").split(",")
    assert backbone.group(named).sites == tuple(named)


def test_the_shape_of_a_site_in_words() -> None:
    tokens = TokenLayout(cls=1, registers=4, grid=(7, 9))
    assert str(SiteShape(tokens, 12)) == "7 x 9 + 5 tokens of 12 channels"


class _NoImages(nn.Module):
    """As a network of words: it has blocks, but fails on images."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Identity())

    def forward_features(self, words: torch.Tensor) -> torch.Tensor:
        raise IndexError("words end")


def test_a_network_that_is_neither_is_refused_with_both_reasons() -> None:
    with pytest.raises(
        LosaError, match=r"_NoImages gives neither .* 8 x 9: IndexError: words end; it has no forw"
    ):
        tap(_NoImages(), (3, 8, 9))
