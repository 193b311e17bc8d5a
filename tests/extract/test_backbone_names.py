import json
from pathlib import Path

import pytest
import timm
from huggingface_hub import constants

from losa.cache_format import LosaError
from losa.extract import backbone_names
from losa.extract.backbone_names import find_backbone, folder_name

COMMIT = "1234567890abcdef1234567890abcdef12345678"
CONFIG = {
    "architecture": "test_vit",
    "model_args": {"depth": 2},
    "pretrained_cfg": {"tag": "mine", "input_size": [3, 160, 160]},
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """``hub(file, content)``: put a file of the model ``we/model`` into the hub's folder of this machine."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    root = tmp_path / "models--we--model"
    (root / "refs").mkdir(parents=True)
    (root / "refs/main").write_text(COMMIT)
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)

    def put(file: str, content: bytes | str = b"") -> Path:
        (snapshot / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return snapshot / file

    put("config.json", json.dumps(CONFIG))
    return put


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_model_on_the_hub_is_that_of_one_commit(hub, revision):
    weights = hub("pytorch_model.bin")
    found = find_backbone(f"hf-hub:we/model{revision}")
    assert (found.name, found.architecture) == ("hf-hub:we/model", "test_vit")
    assert found.timm_name == f"hf-hub:we/model@{COMMIT}"
    assert (found.revision, found.tag, found.arguments) == (COMMIT, "mine", {"depth": 2})
    assert found.weights() == weights
    preferred = hub("model.safetensors")
    assert found.weights() == preferred


def test_a_model_on_the_hub_that_cannot_be_had_is_refused(hub, monkeypatch):
    found = find_backbone("hf-hub:we/model")
    with pytest.raises(
        LosaError, match=r"no file of weights, or the hub cannot be reached; expected one of mod"
    ):
        found.weights()
    for name in ("hf-hub:we/other", "hf-hub:we/model@v2", "hf-hub:", "hf-hub:a/b/c", "hf-hub:we/model@a@b"):
        with pytest.raises(
            LosaError, match=rf"^backbone\.name={name}: config\.json could not be downloaded: \w+"
        ):
            find_backbone(name)

    def refuse(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(backbone_names, "hf_hub_download", refuse)
    with pytest.raises(
        LosaError, match=r"model\.safetensors could not be downloaded: OSError: no space left"
    ):
        found.weights()


def test_a_local_folder_is_named_by_its_architecture(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (f"local-dir:{folder}", "local-dir:mine", "local-dir:mine/", "local-dir:~/mine"):
        found = find_backbone(name)
        assert (found.name, found.timm_name) == ("test_vit", f"local-dir:{folder}")
        assert (found.revision, found.tag, found.arguments) == (None, "mine", {"depth": 2})
        assert found.weights() == folder / "model.safetensors"
        assert folder_name(name) == "mine"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            "no json",
            r"is not the configuration of a timm model: expected an architecture in it \(JSONDecodeError",
        ),
        ('{"model_type": "vit"}', r"expected an architecture in it \(KeyError: 'architecture'\)"),
        ('{"architecture": "test_vit", "model_args": [1]}', r"expected an architecture in it \(TypeError"),
        ("[" * 10**5, r"expected an architecture in it \(RecursionError"),
        ("[1]", r"expected an architecture in it \(TypeError"),
        ('{"architecture": "test_vti"}', r"test_vti: timm .* has no such model; did you mean 'test_vit"),
    ],
)
def test_a_folder_that_is_not_of_timm_is_refused(tmp_path, config, reason):
    with pytest.raises(
        LosaError, match=r"there is no file .*/config\.json\. Expected a folder with config\.json"
    ):
        find_backbone(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(LosaError, match=rf"^backbone\.name=local-dir:{tmp_path}.*{reason}"):
        find_backbone(f"local-dir:{tmp_path}")


def test_older_configurations_have_one_level(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "test_vit", "tag": "old", "num_classes": 3}')
    found = find_backbone(f"local-dir:{tmp_path}")
    assert (found.architecture, found.tag, found.arguments) == ("test_vit", "old", {})
    with pytest.raises(LosaError, match=r"there is no file of weights"):
        found.weights()


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("vit_bse_patch16_224", "vit_base_patch16_224"),
        ("deit_tiny_patch_224.fb_in1k", "deit_tiny_patch16_224"),
        ("zzzzzzzz", None),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name, suggestion):
    end = f"; did you mean {suggestion!r}?" if suggestion else ""
    with pytest.raises(LosaError) as caught:
        find_backbone(name)
    assert str(caught.value) == f"backbone.name={name}: timm {timm.__version__} has no such model{end}"


def test_an_unknown_tag_of_weights_is_refused():
    with pytest.raises(LosaError, match=r"no such weights of test_vit; there are: test_vit\.r160_in1k$"):
        find_backbone("test_vit.nonsense")


@pytest.mark.parametrize(
    "name", ["timm/test_vit", "https://x.org/test_vit", "hf_hub:timm/test_vit", "C:\\test_vit"]
)
def test_a_name_that_looks_like_a_path_is_told_of_both_forms(name):
    with pytest.raises(
        LosaError, match=r"expected a name of timm's, losa_tiny, hf-hub:<owner>/<model>\[@<revision>\] or loc"
    ):
        find_backbone(name)
