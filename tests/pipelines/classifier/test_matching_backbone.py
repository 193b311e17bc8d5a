import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from losa.adapt import StackedSideNetworks, stack_side_networks
from losa.cache_format import LosaError
from losa.extract import BackboneConfig
from losa.pipelines.classifier import matching_backbone as module
from losa.pipelines.classifier.matching_backbone import BackboneSource, matching_backbone
from losa.pipelines.classifier.side_network_folders import load_side_networks

RECORDED = BackboneSource()


@pytest.fixture
def trained_on(make_run, tmp_path: Path):
    def make(**backbone) -> StackedSideNetworks:
        return stack_side_networks(
            load_side_networks([make_run(tmp_path / "run", backbone=BackboneConfig(**backbone))])
        )

    return make


@pytest.mark.parametrize(
    "options",
    [
        {"name": "test_vit", "seed": 3},
        {"name": "test_vit", "img_size": [96, 64]},
        {"name": "test_vit", "args": {"depth": 3, "qk_norm": True}},
        {"name": "test_vit", "args": {"reg_tokens": 2}, "img_size": 64, "seed": 1},
    ],
    ids=str,
)
def test_random_weights_are_made_again_by_what_is_recorded(trained_on, options) -> None:
    networks = trained_on(pretrained=False, **options)
    found = matching_backbone(networks, RECORDED)
    assert found.identity == networks.backbone
    assert found.preprocessing.input_size == networks.preprocessing.input_size


def test_the_grid_is_pooled_as_it_was_for_training(make_run, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", sites=["sum:all", 1], grid=(5, 2))
    networks = stack_side_networks(load_side_networks([folder]))
    assert networks.tokens.pooled_from == (10, 10)
    assert networks.sites == ("sum:all", "block.05")
    found = matching_backbone(networks, RECORDED)
    assert found.identity == networks.backbone
    assert found.group(["sum:all"]).tokens == networks.tokens


def test_another_seed_makes_another_backbone(trained_on) -> None:
    networks = trained_on(name="test_vit", pretrained=False, seed=3)
    with pytest.raises(LosaError, match="not the backbone that the side networks") as caught:
        matching_backbone(networks, BackboneSource(seed=4))
    assert "weights_sha256: expected" in str(caught.value)
    assert str(caught.value).endswith("backbone.pretrained=false backbone.seed=3")


def test_another_architecture_is_refused_field_by_field(trained_on) -> None:
    networks = trained_on(name="test_vit", pretrained=False)
    with pytest.raises(LosaError, match=r"name: expected test_vit, found test_vit2\n  weights_sha256"):
        matching_backbone(networks, BackboneSource(name="test_vit2"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / "mine.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return path


def test_a_file_of_weights_is_asked_for_by_its_name_before_anything_is_loaded(
    trained_on, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = trained_on(name="test_vit", checkpoint=str(weights))
    assert matching_backbone(networks, BackboneSource(checkpoint=str(weights))).identity == networks.backbone
    monkeypatch.setattr(module, "load_backbone", None)
    with pytest.raises(
        LosaError, match=r"weights of a file mine\.safetensors for test_vit: backbone\.checkp"
    ):
        matching_backbone(networks, RECORDED)


def test_other_weights_in_the_file_are_refused(trained_on, weights: Path, tmp_path: Path) -> None:
    networks = trained_on(name="test_vit", checkpoint=str(weights))
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), other)
    with pytest.raises(LosaError, match="weights_sha256"):
        matching_backbone(networks, BackboneSource(checkpoint=str(other)))
    other.write_bytes(other.read_bytes()[:1000])
    with pytest.raises(LosaError, match=r"other\.safetensors"):
        matching_backbone(networks, BackboneSource(checkpoint=str(other)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as timm saves it for the hub."""
    folder = tmp_path / "models/mine"
    folder.mkdir(parents=True)
    model = timm.create_model("test_vit", depth=2)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "test_vit",
        "model_args": {"depth": 2},
        "pretrained_cfg": {"input_size": [3, 160, 160], "fixed_input_size": True},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_local_folder_is_found_where_it_was_and_by_name_where_it_is_now(trained_on, folder: Path) -> None:
    networks = trained_on(name=f"local-dir:{folder}")
    assert matching_backbone(networks, RECORDED).identity == networks.backbone
    moved = folder.rename(folder.with_name("moved"))
    with pytest.raises(LosaError, match=r"if it has moved, backbone\.name=local-dir:<folder>"):
        matching_backbone(networks, RECORDED)
    found = matching_backbone(networks, BackboneSource(name=f"local-dir:{moved}"))
    assert found.identity == networks.backbone


def test_a_model_of_the_hub_is_fetched_at_the_recorded_commit(
    trained_on, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = trained_on(name="test_vit", pretrained=False)
    object.__setattr__(networks.backbone, "name", "hf-hub:someone/theirs")
    networks.origin = {"requested_backbone": "hf-hub:someone/theirs@main", "revision": "c0ffee"}
    asked = []

    def find(name: str) -> None:
        asked.append(name)
        raise LosaError(f"backbone.name={name}: config.json could not be downloaded")

    monkeypatch.setattr(module, "find_backbone", find)
    with pytest.raises(LosaError, match="pretrained weights of hf-hub:someone/theirs@c0ffee;"):
        matching_backbone(networks, RECORDED)
    assert asked == ["hf-hub:someone/theirs@c0ffee"]


def test_pretrained_weights_that_cannot_be_had_are_told(trained_on, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = trained_on(name="test_vit", pretrained=False)
    networks.origin = {}

    def refuse(config: BackboneConfig, grid: tuple[int, int] | None, frames: int) -> None:
        assert (config.pretrained, grid, frames) == (True, None, 1)
        raise LosaError("no network")

    monkeypatch.setattr(module, "load_backbone", refuse)
    with pytest.raises(
        LosaError, match=r"^no network\nThey were trained on the pretrained weights of test_vit"
    ):
        matching_backbone(networks, RECORDED)


def test_a_seed_without_random_weights_is_refused(trained_on, weights: Path) -> None:
    networks = trained_on(name="test_vit", checkpoint=str(weights))
    with pytest.raises(LosaError, match=r"backbone\.seed=1 has an effect on random weights only"):
        matching_backbone(networks, BackboneSource(checkpoint=str(weights), seed=1))
