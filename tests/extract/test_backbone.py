import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- torch's own alias

from losa.cache_format.metadata.constants import NORM_BIAS, NORM_WEIGHT
from losa.extract import FrozenBackbone

# name -> class tokens, register tokens, grid side, depth
LAYOUTS = {
    "test_vit": (1, 0, 10, 6),
    "test_vit2": (0, 1, 10, 8),
    "test_vit4": (0, 1, 10, 9),
    "deit_tiny_distilled_patch16_224": (2, 0, 4, 2),
    "vit_base_patch16_clip_224": (1, 0, 4, 3),
    "vit_small_patch14_reg4_dinov2": (1, 4, 4, 3),
    "vit_small_patch16_dinov3": (1, 4, 4, 3),
}


@pytest.fixture(params=LAYOUTS)
def name(request):
    return request.param


@pytest.fixture
def backbone(name, toy_model):
    return FrozenBackbone(toy_model(name), name)


@pytest.fixture
def vit(toy_model):
    return FrozenBackbone(toy_model("test_vit"), "test_vit")


def _images(backbone, count=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *backbone.preprocessing.input_size, generator=generator)


def test_token_layout_and_depth(name, backbone):
    cls, registers, side, depth = LAYOUTS[name]
    tokens = backbone.group("all").tokens
    assert (tokens.cls, tokens.registers) == (cls, registers)
    assert tokens.grid == (side, side)
    assert backbone.identity.depth == depth
    assert backbone.sites == ("embed", *(f"block.{block:02d}" for block in range(depth)))
    assert backbone.group("all").sites == backbone.sites[1:]
    assert backbone.group(1).sites == backbone.sites[-1:]
    assert backbone.group(["embed"]).width == backbone.group("all").width


def test_block_sites_equal_timms_intermediates(backbone):
    images = _images(backbone)
    with torch.inference_mode():
        pairs = backbone.model.forward_intermediates(
            images, norm=False, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
        )
    expected = torch.stack([torch.cat([prefix, grid], dim=1) for grid, prefix in pairs], dim=1)
    found = backbone.activations(images, backbone.group("all").sites)
    group = backbone.group("all")
    assert found.shape == (2, backbone.identity.depth, group.tokens.count, group.width)
    assert torch.equal(found, expected)
    some = backbone.sites[:1] + backbone.sites[-2:]
    assert torch.equal(backbone.activations(images, some)[:, 1:], expected[:, -2:])


def test_embed_is_what_enters_the_first_block(backbone):
    images = _images(backbone)
    inputs = []
    handle = backbone.model.blocks[0].register_forward_pre_hook(lambda _, inputs_: inputs.append(inputs_[0]))
    with torch.inference_mode():
        backbone.model.forward_features(images)
    handle.remove()
    assert torch.equal(backbone.activations(images, ["embed"])[:, 0], inputs[0])


def test_the_first_block_turns_embed_into_its_own_site(vit):
    both = vit.activations(_images(vit), ["embed", "block.00"])
    with torch.inference_mode():
        assert torch.equal(vit.model.blocks[0](both[:, 0]), both[:, 1])
        patches = vit.model.patch_embed(_images(vit)).flatten(1, 2)
        embedded = patches + vit.model.pos_embed[:, 1:]
    assert torch.equal(both[:, 0, 1:], embedded)


def test_the_recorded_final_norm_turns_the_last_site_into_the_models_features(backbone):
    images = _images(backbone)
    last = backbone.activations(images, backbone.sites[-1:])[:, 0]
    norm, arrays = backbone.final_norm, backbone.final_norm_constants
    assert norm is not None
    weight = torch.from_numpy(arrays[NORM_WEIGHT])

    def apply(values):
        if norm.kind == "rms_norm":
            assert NORM_BIAS not in arrays
            return values * torch.rsqrt(values.square().mean(-1, keepdim=True) + norm.eps) * weight
        return F.layer_norm(values, values.shape[-1:], weight, torch.from_numpy(arrays[NORM_BIAS]), norm.eps)

    model = backbone.model
    with torch.inference_mode():
        features = model.forward_features(images)
        if isinstance(model.norm, nn.Identity):
            # These models pool before they normalise.
            assert torch.equal(features, last)
            torch.testing.assert_close(apply(model.pool(last)), model.forward_head(features, pre_logits=True))
        else:
            assert not torch.allclose(last, features)
            torch.testing.assert_close(apply(last), features)


def test_frozen_whatever_state_the_model_was_in(toy_model):
    noisy = {"drop_path_rate": 0.9, "drop_rate": 0.5, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5}
    model = toy_model("test_vit", **noisy, pos_drop_rate=0.5).train()
    backbone = FrozenBackbone(model, "test_vit")
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    images = _images(backbone)
    first = backbone.activations(images, backbone.sites)
    assert not first.requires_grad
    assert torch.equal(first, backbone.activations(images, backbone.sites))
    plain = FrozenBackbone(toy_model("test_vit"), "test_vit")
    assert torch.equal(first, plain.activations(images, plain.sites))


def test_an_images_activations_do_not_depend_on_its_batch(vit):
    images = _images(vit, 5)
    together = vit.activations(images, vit.sites)
    alone = torch.cat([vit.activations(image[None], vit.sites) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_batch_without_images_gives_no_activations(backbone):
    empty = backbone.activations(_images(backbone, 0), backbone.sites[:2])
    group = backbone.group("all")
    assert empty.shape == (0, 2, group.tokens.count, group.width)


def test_no_hook_stays_behind_even_after_an_error(vit):
    vit.activations(_images(vit), vit.sites)
    with pytest.raises(AssertionError):
        vit.activations(torch.zeros(1, 3, 7, 7), vit.sites)
    for block in vit.model.blocks:
        assert not block._forward_hooks
        assert not block._forward_pre_hooks
