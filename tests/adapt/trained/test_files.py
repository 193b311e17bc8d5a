import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from losa.adapt import (
    FeatureSpec,
    FrozenFeatures,
    SideNetwork,
    load_side_network,
    make_side_network,
    save_side_network,
)
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.trained.description import NETWORK_VERSION
from losa.adapt.trained.files import DESCRIPTION_NAME, TENSORS_NAME
from losa.cache_format import LosaError
from losa.cache_format.identity import FinalNorm
from losa.cache_format.metadata.constants import NORM_BIAS
from losa.cache_format.storage.sealed_json import seal, unseal

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

KINDS = tuple(SIDE_NETWORKS)
NORMS = {
    "layer_norm": FinalNorm(kind="layer_norm", eps=1e-5),
    "rms_norm": FinalNorm(kind="rms_norm", eps=1e-5),
    "no_norm": None,
}


@pytest.fixture
def make_float32(make_config: Any, make_features: Any, randomise: Any) -> Callable[..., SideNetwork]:
    def make(side: str, seeds: tuple[int, ...] = (3,), features: FeatureSpec | None = None) -> SideNetwork:
        config = make_config(side=side, rank=4, heads=2, bias=True, probe_share=0.25, seed=seeds[0])
        features = features or make_features()
        return randomise(make_side_network(config.architecture_for(features.tokens), features, 3, seeds))

    return make


@pytest.fixture
def saved(make_float32: Any, toy_cache: Any, tmp_path: Path) -> Path:
    """A folder with one LoSA."""
    save_side_network(tmp_path, make_float32("losa"), 0, toy_cache.features, toy_cache.columns[:1])
    return tmp_path


def edit(folder: Path, **changes: Any) -> None:
    """Write another description, sealed, that has the hash of the tensors as they are."""
    path = folder / DESCRIPTION_NAME
    tensors = hashlib.sha256((folder / TENSORS_NAME).read_bytes()).hexdigest()
    path.write_bytes(seal(unseal(path.read_bytes(), path) | {"tensors_sha256": tensors} | changes))


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_round_trip(
    side: str,
    norm: str,
    make_float32: Any,
    make_features: Any,
    activations_of: Any,
    toy_cache: Any,
    tmp_path: Path,
) -> None:
    features = make_features(norm=NORMS[norm], frames=2)
    if norm == "rms_norm":
        del features.constants[NORM_BIAS]
    network = make_float32(side, features=features)
    save_side_network(tmp_path, network, 0, toy_cache.features, toy_cache.columns[:1])
    loaded = load_side_network(tmp_path).network
    activations = activations_of(features).float()
    read = FrozenFeatures(activations)
    assert torch.equal(loaded(read), network(read))
    assert loaded.architecture == network.architecture
    assert (loaded.members, loaded.num_classes, loaded.training) == (1, 3, False)
    assert (loaded.features.sites, loaded.features.tokens) == (features.sites, features.tokens)


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("member", [0, 2])
def test_one_of_several_members(
    side: str, member: int, make_float32: Any, activations_of: Any, toy_cache: Any, tmp_path: Path
) -> None:
    network = make_float32(side, (3, 4, 5))
    save_side_network(tmp_path, network, member, toy_cache.features, toy_cache.columns[:1])
    read = FrozenFeatures(activations_of(network.features).float())
    loaded = load_side_network(tmp_path).network(read)
    torch.testing.assert_close(loaded[0], network(read)[member], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [str, Path])
def test_what_is_known_of_inputs_and_outputs_comes_with_the_network(
    kind: type, saved: Path, make_features: Any, toy_cache: Any
) -> None:
    found = load_side_network(kind(saved))
    assert found.columns == toy_cache.columns[:1]
    assert found.columns[0].classes == ("ant", "bee", "cat")
    assert (found.backbone, found.preprocessing) == (
        toy_cache.features.backbone,
        toy_cache.features.preprocessing,
    )
    assert found.features_sha256 == toy_cache.features.sha256
    assert found.sites == make_features().sites


def test_the_description_names_backbone_and_features(saved: Path, toy_cache: Any) -> None:
    description = json.loads((saved / DESCRIPTION_NAME).read_text())
    features = toy_cache.features
    assert description["format"] == "losa-side-network"
    assert description["version"] == NETWORK_VERSION
    assert description["features_sha256"] == features.sha256
    assert description["backbone"] == {
        "name": "vit_nano.toy",
        "weights_sha256": features.backbone.weights_sha256,
        "depth": 3,
    }
    assert description["preprocessing"]["input_size"] == [3, 32, 32]
    outputs = [{"name": "label", "kind": "class", "num_classes": 3, "classes": ["ant", "bee", "cat"]}]
    assert description["outputs"] == outputs
    assert description["architecture"]["rank"] == 4


def test_a_description_from_before_there_were_probes(
    make_network: Any, toy_cache: Any, tmp_path: Path
) -> None:
    network = make_network("losa", probe_share=0.0).float()
    save_side_network(tmp_path, network, 0, toy_cache.features, toy_cache.columns[:1])
    path = tmp_path / DESCRIPTION_NAME
    architecture = unseal(path.read_bytes(), path)["architecture"]
    del architecture["probe_share"]
    edit(tmp_path, architecture=architecture)
    loaded = load_side_network(tmp_path).network
    assert (loaded.architecture, loaded.probe) == (network.architecture, None)


def test_tensors_have_no_members_axis(saved: Path) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(saved / TENSORS_NAME).items()}
    assert shapes["channel_down"] == (3, 4, 8)
    assert shapes["head.weight"] == (8, 3)
    assert shapes["head.final_norm_weight"] == (8,)


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, TENSORS_NAME])
def test_a_missing_file_is_named(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(LosaError, match="holds no side network") as error:
        load_side_network(saved)
    assert str(error.value) == f"{saved} holds no side network: {saved / name} is missing"


@pytest.mark.parametrize("below", ["", "member"])
def test_a_file_in_place_of_a_folder(below: str, saved: Path) -> None:
    path = saved / DESCRIPTION_NAME / below
    with pytest.raises(LosaError, match=f"{path} is no folder: give the folder that holds"):
        load_side_network(path)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(LosaError, match=f"nowhere holds no side network: .*{DESCRIPTION_NAME} is missing"):
        load_side_network(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, TENSORS_NAME])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short_is_damaged(name: str, part: float, saved: Path) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[: int(part * len(data))])
    with pytest.raises(LosaError, match=rf"{name}(: not a sealed JSON record| is damaged: its sha256).*Copy"):
        load_side_network(saved)


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, TENSORS_NAME])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_found(name: str, place: float, saved: Path) -> None:
    data = bytearray((saved / name).read_bytes())
    data[int(place * len(data))] ^= 1
    (saved / name).write_bytes(data)
    with pytest.raises(LosaError, match=name):
        load_side_network(saved)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{]", b"", b"[]", b"3", b"null", b"{}"])
def test_no_sealed_json(content: bytes, saved: Path) -> None:
    (saved / DESCRIPTION_NAME).write_bytes(content)
    with pytest.raises(LosaError, match="not a sealed JSON record"):
        load_side_network(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": "wide"},
        {"width": -8},
        {"width": 10**12},
        {"num_classes": 10**12},
        {"num_classes": 4},
        {"tokens": {"cls": 1, "registers": 0, "grid": [2**24, 2**24], "frames": 2**16}},
        {"sites": []},
        {"backbone": {"name": "vit"}},
        {"outputs": [{"name": "label", "num_classes": 3, "classes": ["ant"]}]},
        {"num_classes": None},
        {"num_classes": -3},
        {"sites": 3},
        {"tokens": {"cls": 1}},
        {"tokens": None},
        {"final_norm": {"kind": "batch_norm", "eps": 1e-6}},
        {"architecture": {"side": "lasagne"}},
        {"architecture": {"side": "losa"}},
        {"architecture": None},
    ],
    ids=str,
)
def test_a_description_that_makes_no_sense(changes: dict[str, Any], saved: Path) -> None:
    edit(saved, **changes)
    with pytest.raises(LosaError, match=f"^{saved / DESCRIPTION_NAME} is not a valid description: "):
        load_side_network(saved)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        (NETWORK_VERSION + 1, "install a newer one"),
        (1, "train it again"),
        ("2", "train it again"),
        (None, "train"),
    ],
)
def test_another_version_is_refused(version: Any, remedy: str, saved: Path) -> None:
    edit(saved, version=version)
    expected = f"version {version!r}; this losa reads version {NETWORK_VERSION}: {remedy}"
    with pytest.raises(LosaError, match=expected):
        load_side_network(saved)


@pytest.mark.parametrize(
    "changes", [{"width": 2**24}, {"tokens": {"cls": 1, "registers": 0, "grid": [2**12, 2**11]}}], ids=str
)
def test_nothing_is_allocated_for_shapes_that_the_tensors_do_not_have(
    changes: dict[str, Any], saved: Path
) -> None:
    architecture = unseal((saved / DESCRIPTION_NAME).read_bytes(), saved)["architecture"]
    edit(saved, **changes, architecture=architecture | {"rank": 4096})
    with pytest.raises(LosaError, match=rf"{TENSORS_NAME}: expected tensors .*'channel_down'.*, found "):
        load_side_network(saved)


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 64, seal({})])
def test_no_tensors_are_blamed_on_their_file(data: bytes, saved: Path) -> None:
    (saved / TENSORS_NAME).write_bytes(data)
    edit(saved)
    with pytest.raises(LosaError, match=f"^{saved / TENSORS_NAME} is not a valid file of tensors: "):
        load_side_network(saved)


def test_tensors_of_another_dtype(saved: Path) -> None:
    tensors = load_file(saved / TENSORS_NAME)
    save_file(tensors | {"head.bias": tensors["head.bias"].to(torch.int64)}, saved / TENSORS_NAME)
    edit(saved)
    with pytest.raises(LosaError, match=r"expected tensors .*'float32\[3\]'.*, found .*'int64\[3\]'"):
        load_side_network(saved)


def test_description_and_tensors_of_different_networks(
    saved: Path, make_float32: Any, toy_cache: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_side_network(other, make_float32("last"), 0, toy_cache.features, toy_cache.columns[:1])
    shutil.copy(other / TENSORS_NAME, saved / TENSORS_NAME)
    with pytest.raises(LosaError, match=rf"{TENSORS_NAME} is damaged"):
        load_side_network(saved)
    edit(saved)
    with pytest.raises(LosaError, match=r"expected tensors .*'channel_down'.*, found .*'query_key_value'"):
        load_side_network(saved)


@pytest.mark.parametrize("name", ["channel_down", "head.bias", "head.final_norm_bias"])
def test_a_tensor_of_another_shape(name: str, saved: Path) -> None:
    tensors = load_file(saved / TENSORS_NAME)
    tensors[name] = tensors[name][..., :-1].clone()
    save_file(tensors, saved / TENSORS_NAME)
    edit(saved)
    with pytest.raises(LosaError, match=rf"{TENSORS_NAME}: expected tensors .*'{name}'.*, found "):
        load_side_network(saved)


def test_saving_again_replaces_both_files(saved: Path, make_float32: Any, toy_cache: Any) -> None:
    network = make_float32("last")
    save_side_network(saved, network, 0, toy_cache.features, toy_cache.columns[:1])
    assert load_side_network(saved).network.architecture == network.architecture
    assert sorted(path.name for path in saved.iterdir()) == [DESCRIPTION_NAME, TENSORS_NAME]
