import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from losa.cache_format import LosaError
from losa.extract import BackboneConfig, load_backbone
from losa.extract.backbone_names import SHIPPED
from losa.extract.weights import hash_weights

COMMIT = "1234567890abcdef1234567890abcdef12345678"


def _untrained(name="test_vit", **options):
    return load_backbone(BackboneConfig(name=name, pretrained=False, **options))


def _fill(folder, model, **config):
    """Save a model as timm saves it for the hub."""
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    content = {"architecture": "test_vit", "pretrained_cfg": {**model.pretrained_cfg, "tag": "mine"}} | config
    (folder / "config.json").write_text(json.dumps(content))


def test_an_untrained_backbone_is_a_function_of_its_seed():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    hashes = [_untrained(seed=seed).identity.weights_sha256 for seed in (0, 1, 0)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert hashes[0] == hashes[2] != hashes[1]
    assert _untrained(seed=1).origin == {"architecture": "test_vit", "random_weights": "seed 1"}


@pytest.mark.parametrize("given", [{}, {"checkpoint": "a.pt"}, {"checkpoint": "a.pt", "pretrained": False}])
def test_a_seed_of_weights_that_are_not_random_is_refused(given):
    with pytest.raises(ValueError, match=r"backbone\.seed=3 has an effect on random weights only"):
        BackboneConfig(name="test_vit", seed=3, **given)


def test_the_identity_of_a_model_of_timm_has_no_new_fields():
    """Or caches of earlier versions could not be resumed."""
    identity = _untrained(args={}).identity
    assert (identity.name, identity.architecture, identity.arguments) == ("test_vit", None, {})
    assert _untrained(img_size=160).identity == identity


def test_weights_from_a_file(toy_model, tmp_path):
    model = toy_model("test_vit")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    for file in ("weights.safetensors", "weights.pth"):
        loaded = load_backbone(BackboneConfig(name="test_vit", checkpoint=str(tmp_path / file)))
        assert loaded.identity.weights_sha256 == hash_weights(model)
        assert loaded.origin == {"architecture": "test_vit", "checkpoint": file}


def test_a_checkpoint_may_begin_with_a_tilde(toy_model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    model = toy_model("test_vit")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    loaded = load_backbone(BackboneConfig(name="test_vit", checkpoint="~/weights.safetensors"))
    assert loaded.identity.weights_sha256 == hash_weights(model)


def test_a_checkpoint_that_does_not_fit_is_refused(toy_model, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file(toy_model("test_vit2").state_dict(), other)
    with pytest.raises(LosaError, match=rf"^{other} does not fit test_vit: "):
        load_backbone(BackboneConfig(name="test_vit", checkpoint=str(other)))
    with pytest.raises(LosaError, match=r"backbone\.checkpoint: there is no file .*/none\.pth"):
        load_backbone(BackboneConfig(name="test_vit", checkpoint=str(tmp_path / "none.pth")))


def test_a_local_folder(toy_model, tmp_path):
    model = toy_model("test_vit", num_classes=3)
    _fill(tmp_path / "mine", model, model_args={"num_classes": 3})
    loaded = load_backbone(BackboneConfig(name=f"local-dir:{tmp_path}/mine"))
    same = load_backbone(BackboneConfig(name="test_vit", checkpoint=str(tmp_path / "mine/model.safetensors")))
    assert loaded.identity == same.identity
    assert loaded.identity.weights_sha256 == hash_weights(model)
    assert loaded.origin == {
        "architecture": "test_vit",
        "requested_backbone": f"local-dir:{tmp_path}/mine",
        "pretrained_tag": "mine",
    }
    assert _untrained(f"local-dir:{tmp_path}/mine").identity.weights_sha256 != hash_weights(model)


def test_a_folder_without_code_that_could_run(toy_model, tmp_path):
    """Its weights are read as those of a checkpoint are."""
    _fill(tmp_path / "mine", toy_model("test_vit"))
    (tmp_path / "mine/model.safetensors").unlink()
    torch.save(torch.nn.Linear(2, 2), tmp_path / "mine/pytorch_model.bin")
    with pytest.raises(LosaError, match="was not read, because that could run code"):
        load_backbone(BackboneConfig(name=f"local-dir:{tmp_path}/mine"))


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": 5},
        {"mean": [0.5, None, 0.5]},
        {"std": "x"},
        {"std": [0.5, 0.5, 10**400]},
        {"input_size": {"a": []}},
        {"input_size": [3, "160", 160]},
        {"crop_pct": [[]]},
        {"interpolation": 5},
        {"crop_mode": True},
        {"classifier": 5},
        {"classifier": [[]]},
    ],
    ids=str,
)
def test_a_configuration_of_wrong_types_is_refused(changes, toy_model, tmp_path):
    folder = tmp_path / "mine"
    _fill(folder, toy_model("test_vit", depth=2), model_args={"depth": 2})
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LosaError, match=r"pretrained_cfg\) .*expected |timm cannot make this model: "):
        load_backbone(BackboneConfig(name=f"local-dir:{folder}"))


def test_a_model_on_the_hub(toy_model, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    root = tmp_path / "models--we--model"
    model = toy_model("test_vit", depth=2)
    _fill(root / "snapshots" / COMMIT, model, model_args={"depth": 2, "drop_rate": 0.5, "num_classes": 1000})
    (root / "refs").mkdir()
    for revision in ("main", "v2"):
        (root / "refs" / revision).write_text(COMMIT)
    loaded = load_backbone(BackboneConfig(name="hf-hub:we/model@v2"))
    assert (loaded.identity.name, loaded.identity.architecture) == ("hf-hub:we/model", "test_vit")
    assert (loaded.identity.depth, loaded.identity.arguments) == (2, {"depth": 2})
    assert loaded.identity.weights_sha256 == hash_weights(model)
    assert loaded.origin == {
        "architecture": "test_vit",
        "requested_backbone": "hf-hub:we/model@v2",
        "revision": COMMIT,
        "pretrained_tag": "mine",
    }
    # Equal weights are equal features, whatever the revision is called.
    assert load_backbone(BackboneConfig(name="hf-hub:we/model")).identity == loaded.identity


def test_the_tag_of_pretrained_weights_is_recorded(monkeypatch):
    create, asked = timm.create_model, []

    def without_download(name, pretrained, **arguments):
        asked.append((name, pretrained))
        return create(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", without_download)
    loaded = load_backbone(BackboneConfig(name="test_vit"))
    assert asked == [("test_vit", True)]
    assert loaded.identity.name == "test_vit"
    assert loaded.origin == {"architecture": "test_vit", "pretrained_tag": "r160_in1k"}


def test_weights_that_cannot_be_downloaded_are_never_replaced_by_random_ones(monkeypatch):
    asked = []

    def unreachable(name, pretrained, **_):
        asked.append(pretrained)
        raise LocalEntryNotFoundError(f"Cannot find the requested files of {name}\nin the disk cache. " * 20)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(LosaError) as caught:
        load_backbone(BackboneConfig(name="test_vit"))
    assert asked == [True]
    first, advice = str(caught.value).splitlines()
    assert first.startswith("the pretrained weights of test_vit could not be loaded: LocalEntryNotFoundError")
    assert len(first) < 520
    assert "backbone.checkpoint=<file>" in advice
    assert "backbone.pretrained=false" in advice


def test_a_model_for_which_there_are_no_weights_is_refused():
    with pytest.raises(LosaError, match=r"could not be loaded: .*No pretrained weights exist"):
        load_backbone(BackboneConfig(name="vit_relpos_small_patch16_rpn_224"))


def test_our_own_backbone_ships_with_its_weights():
    trained = load_backbone(BackboneConfig(name="losa_tiny"))
    card = Path(__file__).parents[2].joinpath("docs/losa-tiny.md").read_text(encoding="utf-8")
    assert trained.identity.weights_sha256 in card
    weights = SHIPPED["losa_tiny"] / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in card
    assert weights.stat().st_size < 6_000_000
    assert trained.origin == {"architecture": "vit_tiny_patch16_224", "pretrained_tag": "drawn_scenes"}
    assert (trained.identity.name, trained.preprocessing.input_size) == ("losa_tiny", (3, 32, 32))
    untrained = load_backbone(BackboneConfig(name="losa_tiny", pretrained=False))
    assert replace(untrained.identity, weights_sha256=trained.identity.weights_sha256) == trained.identity
    assert untrained.identity != trained.identity
    assert untrained.preprocessing == trained.preprocessing


@pytest.mark.parametrize(("name", "meant"), [("losa_tny", "losa_tiny"), ("losa_tiny.v2", "losa_tiny")])
def test_our_own_backbone_is_suggested(name, meant):
    with pytest.raises(LosaError, match=rf"did you mean '{meant}'"):
        load_backbone(BackboneConfig(name=name))


@pytest.mark.parametrize("pretrained", [True, False])
def test_an_unknown_name_is_refused(pretrained):
    with pytest.raises(LosaError, match=r"^backbone\.name=test_vti: .* did you mean 'test_vit"):
        load_backbone(BackboneConfig(name="test_vti", pretrained=pretrained))


@pytest.mark.parametrize("size", [64, [64, 96]])
@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_the_image_size(size, name):
    backbone = _untrained(name, img_size=size)
    height, columns = (64, 64) if size == 64 else size
    assert backbone.preprocessing.input_size == (3, height, columns)
    patch = 16 if name == "test_vit" else 32
    assert backbone.group(1).tokens.grid == (height // patch, columns // patch)
    assert backbone.activations(torch.zeros(1, 3, height, columns), backbone.sites[-1:]).shape[0] == 1


def test_an_image_size_resamples_the_positions_of_a_checkpoint(toy_model, tmp_path):
    save_file(toy_model("test_vit").state_dict(), tmp_path / "x.safetensors")
    config = {"name": "test_vit", "checkpoint": str(tmp_path / "x.safetensors")}
    backbone = load_backbone(BackboneConfig(**config, img_size=64))
    assert backbone.group("all").tokens.count == 17
    assert backbone.identity.weights_sha256 != load_backbone(BackboneConfig(**config)).identity.weights_sha256
    save_file(backbone.model.state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(LosaError, match=r"of another image size\nbackbone\.img_size="):
        load_backbone(BackboneConfig(**config))


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        (
            "test_vit",
            165,
            r"img_size=\[165,165\]: expected multiples of .* 16 x 16 pixels, such as .*\[160,160\]$",
        ),
        ("test_vit", [160, 8], r"img_size=\[160,8\]: .* such as backbone\.img_size=\[160,16\]$"),
        ("vit_small_patch14_dinov2", 225, r"14 x 14 pixels, such as backbone\.img_size=\[224,224\]$"),
        ("swin_tiny_patch4_window7_224", 30, r"4 x 4 pixels"),
        ("nest_tiny", 50, r"backbone\.img_size=50: timm cannot make this model: AssertionError"),
        ("test_convnext", 1, r"ConvNeXt gives neither on images of 1 x 1: .*RuntimeError"),
    ],
)
def test_an_image_size_that_does_not_fit_is_refused(name, size, reason):
    with pytest.raises(LosaError, match=reason):
        _untrained(name, img_size=size)


def test_arguments_are_passed_to_timm_and_recorded():
    backbone = _untrained(args={"depth": 2, "drop_path_rate": 0.1, "proj_drop_rate": 0.1, "act_layer": None})
    assert backbone.sites == ("embed", "block.00", "block.01")
    assert backbone.identity.arguments == {"depth": 2}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"dept": 2}, r"backbone\.args=\{'dept': 2\}: timm cannot make this model: TypeError: .*'dept'"),
        (
            {"embed_dim": "wide"},
            r"backbone\.args=\{'embed_dim': 'wide'\}: timm cannot make this model: TypeError",
        ),
        ({"img_size": 64}, r"backbone\.args: img_size cannot be set there: use backbone\.img_size$"),
        ({"in_chans": 1}, r"backbone\.args: in_chans cannot be set there: losa feeds RGB images$"),
        ({"features_only": True}, r"features_only cannot be set there: sites=\.\.\. says where"),
    ],
)
def test_arguments_that_do_not_work_are_refused(arguments, reason):
    with pytest.raises(LosaError, match=reason):
        _untrained(args=arguments)


def test_arguments_of_another_shape_do_not_fit_the_weights(toy_model, tmp_path):
    save_file(toy_model("test_vit").state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(LosaError, match=r"the model has no blocks\.2\.attn\.proj\.bias, .* others\n"):
        load_backbone(
            BackboneConfig(name="test_vit", checkpoint=str(tmp_path / "x.safetensors"), args={"depth": 2})
        )
