import logging

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from losa.cache_format import LosaError
from losa.extract.checkpoints import load_checkpoint
from losa.extract.weights import hash_weights


@pytest.fixture
def model(toy_model):
    return toy_model("test_vit", seed=1)


@pytest.fixture
def trained(toy_model):
    """The tensors to be found in a file."""
    return toy_model("test_vit", seed=2).state_dict()


@pytest.fixture
def expected(toy_model):
    return hash_weights(toy_model("test_vit", seed=2))


@pytest.fixture
def other(toy_model):
    """Tensors that must not be taken."""
    return toy_model("test_vit", seed=3).state_dict()


@pytest.fixture
def save(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return save


def _under(prefix, tensors):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


FORMS = {
    "plain": lambda own, _: own,
    "no head": lambda own, _: {name: value for name, value in own.items() if not name.startswith("head")},
    "another head": lambda own, _: own | {"head.weight": torch.ones(5, 64), "head.bias": torch.ones(5)},
    "distributed": lambda own, _: _under("module.", own),
    "compiled and distributed": lambda own, _: _under("module._orig_mod.", own),
    "part of another network": lambda own, _: _under("backbone.", own) | {"neck.weight": torch.ones(3)},
    "a mapping": lambda own, _: {"model": own, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "lightning": lambda own, _: {"state_dict": _under("model.encoder.", own), "epoch": 7, "loops": {}},
    "timm's ema": lambda own, other: {"state_dict": other, "state_dict_ema": own, "arch": "test_vit"},
    "deit's ema": lambda own, other: {"model": other, "model_ema": _under("module.", own)},
    "ema in one mapping": lambda own, other: _under("net.", other) | _under("ema.net.", own),
    "averaged": lambda own, _: _under("module.", own) | {"n_averaged": torch.tensor(9)},
    "half precision": lambda own, _: {name: value.double() for name, value in own.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_checkpoints(form, model, trained, other, expected, save):
    load_checkpoint(model, save(FORMS[form](trained, other)), resample=False)
    assert hash_weights(model) == expected


def test_a_head_is_loaded_if_it_fits(model, trained, save):
    load_checkpoint(model, save(trained), resample=False)
    assert torch.equal(model.head.weight, trained["head.weight"])
    load_checkpoint(model, save(trained | {"head.weight": torch.ones(5, 64)}), resample=False)
    assert torch.equal(model.head.weight, trained["head.weight"])


def test_two_copies_of_which_none_is_an_ema_are_refused(model, trained, other, save):
    path = save({"encoder_q": trained, "encoder_k": other})
    with pytest.raises(
        LosaError, match=r"is in it 2 times, under 'encoder_q\.', 'encoder_k\.'\nSave the tensors"
    ):
        load_checkpoint(model, path, resample=False)


def test_what_is_not_of_the_backbone_is_named(model, trained, expected, save, caplog):
    decoder = {
        "decoder_embed.weight": torch.ones(3),
        "decoder_embed.bias": torch.ones(3),
        "optimizer_step": torch.ones(1),
    }
    beside = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    with caplog.at_level(logging.INFO, logger="losa"):
        load_checkpoint(model, save({"model": trained | decoder} | beside), resample=False)
    assert hash_weights(model) == expected
    assert "the weights are those under 'model.'; not used: optimizer\n" in caplog.text
    assert caplog.messages[-1].endswith("not of the backbone, and not used: decoder_embed, optimizer_step")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda own: own.pop("blocks.3.mlp.fc1.bias"), r"it lacks blocks\.3\.mlp\.fc1\.bias\n"),
        (
            lambda own: [own.pop(name) for name in list(own) if name.startswith("blocks.5")],
            r"it lacks blocks\.5\.norm1\.weight, .*, blocks\.5\.\S+ and \d+ others\n",
        ),
        (
            lambda own: own.update({"blocks.0.norm1.bias": torch.ones(3)}),
            r"blocks\.0\.norm1\.bias is \(3,\), expected \(64,\)\n",
        ),
        (lambda own: own.update({"reg_token": torch.ones(1, 4, 64)}), r"the model has no reg_token\n"),
        (
            lambda own: own.update({"blocks.0.ls1.gamma": torch.ones(64)}),
            r"the model has no blocks\.0\.ls1\.gamma\nbackbone\.args=\{\.\.\.\} makes the model with",
        ),
        (
            lambda own: own.update({"patch_embed.proj.weight": torch.ones(64, 3, 8, 8)}),
            r"patch_embed\.proj\.weight is \(64, 3, 8, 8\), expected \(64, 3, 16, 16\)\n",
        ),
    ],
)
@pytest.mark.parametrize("resample", [False, True])
def test_what_does_not_fit_is_named(change, reason, model, trained, save, resample):
    trained = dict(trained)
    change(trained)
    path, before = save(trained), hash_weights(model)
    with pytest.raises(LosaError, match=rf"^{path} does not fit test_vit: {reason}"):
        load_checkpoint(model, path, resample=resample)
    assert hash_weights(model) == before


def test_positions_are_resampled_only_when_asked(toy_model, save):
    small = toy_model("test_vit", img_size=64, seed=2)
    path = save(small.state_dict())
    model = toy_model("test_vit")
    with pytest.raises(LosaError) as caught:
        load_checkpoint(model, path, resample=False)
    first, advice = str(caught.value).splitlines()
    assert first.endswith("test_vit: pos_embed from (1, 17, 64) to (1, 101, 64): it is of another image size")
    assert "backbone.img_size=<the size it was trained with>" in advice
    load_checkpoint(model, path, resample=True)
    assert torch.equal(model.pos_embed[:, 0], small.pos_embed[:, 0])
    assert torch.equal(model.blocks[0].norm1.weight, small.blocks[0].norm1.weight)
    same = toy_model("test_vit", img_size=64)
    load_checkpoint(same, path, resample=False)
    assert torch.equal(same.pos_embed, small.pos_embed)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, in timm's resampling
@pytest.mark.parametrize(
    ("name", "arguments", "positions"),
    [
        (
            "beit_base_patch16_224",
            {"embed_dim": 32, "num_heads": 2, "depth": 1},
            "relative_position_bias_table",
        ),
        ("tnt_s_patch16_224", {"depth": 1}, "patch_pos"),
        ("mvitv2_tiny", {}, "rel_pos_h"),
        ("cait_xxs24_224", {"depth": 1}, "pos_embed"),  # timm does not resample it
    ],
)
def test_positions_of_other_networks_are_not_resampled_unasked(name, arguments, positions, save):
    small = timm.create_model(name, img_size=64, **arguments)
    with pytest.raises(LosaError, match=rf"{positions} .*\n.*backbone\.img_size=<"):
        load_checkpoint(timm.create_model(name, **arguments), save(small.state_dict()), resample=False)


def test_weights_in_the_form_of_their_authors(toy_model, save):
    """DINOv2 with registers as it is published: a mask token, other names, a position of the class token."""
    source = toy_model("vit_small_patch14_reg4_dinov2", seed=2)
    published = dict(source.state_dict())
    published["register_tokens"] = published.pop("reg_token")
    published["pos_embed"] = torch.cat([torch.zeros(1, 1, 48), published["pos_embed"]], dim=1)
    published["mask_token"] = torch.zeros(1, 48)
    model = toy_model("vit_small_patch14_reg4_dinov2")
    load_checkpoint(model, save(published), resample=False)
    assert hash_weights(model) == hash_weights(source)


def test_buffers_without_effect_may_lack(toy_model, save):
    source = toy_model("test_resnet", seed=2).state_dict()
    kept = {name: value for name, value in source.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(source)
    model = toy_model("test_resnet")
    load_checkpoint(model, save(kept), resample=False)
    assert torch.equal(model.layer4[0].conv1.weight, source["layer4.0.conv1.weight"])
    del kept[next(name for name in kept if name.endswith("running_mean"))]
    with pytest.raises(LosaError, match=r"it lacks \S+running_mean"):
        load_checkpoint(model, save(kept), resample=False)


def test_archives_of_numpy(model, toy_model, tmp_path):
    """Their positions are checked before timm reads the rest."""
    path = tmp_path / "jax.npz"
    np.savez(path, **{"Transformer/posembed_input/pos_embedding": np.zeros((1, 17, 64), np.float32)})
    with pytest.raises(
        LosaError, match=r"pos_embedding is \(1, 17, 64\), and pos_embed of the model \(1, 101, 64\)"
    ):
        load_checkpoint(model, path, resample=False)
    for content in (path.read_bytes(), b"no archive"):
        path.write_bytes(content)
        with pytest.raises(LosaError, match=r"does not fit test_vit: it cannot be read: \w+: "):
            load_checkpoint(model, path, resample=True)
    with pytest.raises(LosaError, match=r"vision transformers and mixers only"):
        load_checkpoint(toy_model("test_resnet"), path, resample=True)


def test_a_file_of_safetensors(model, trained, expected, tmp_path):
    save_file(trained, tmp_path / "weights.safetensors")
    load_checkpoint(model, tmp_path / "weights.safetensors", resample=False)
    assert hash_weights(model) == expected
