import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from losa.pipelines import load
from losa.pipelines.export.graph import drawn_images
from losa.pipelines.export.job import _with_option


@pytest.fixture
def folder(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with ``runs/probe``, ``runs/relay`` and ``photos``."""
    (tmp_path / "runs").mkdir()
    for name, run in runs.items():
        shutil.copytree(run, tmp_path / "runs" / name)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30), "purple").save(tmp_path / "photos/photo.png")
    return tmp_path


@pytest.mark.long
def test_a_model_is_written_checked_and_described(command: Any, folder: Path) -> None:
    finished = command(folder, "losa-export", "runs/probe", "--to", "model.pt2", "images=photos")
    assert finished.returncode == 0, finished.stderr
    assert (
        "model.pt2 and model.pt2.json: 1 side network with the backbone; on 1 image and 8 drawn ones"
        in finished.stderr
    )
    description = json.loads((folder / "model.pt2.json").read_text())
    assert [output["name"] for output in description["outputs"]] == ["label"]
    assert description["check"]["images"] == 1


@pytest.mark.long
def test_an_ensemble_is_one_output(command: Any, folder: Path, make_run: Any) -> None:
    for name, side in (("one", "losa"), ("two", "linear")):
        make_run(folder / "pets" / name, side)
    finished = command(folder, "losa-export", "pets", "to=model.pt2", "ensemble=true")
    assert finished.returncode == 0, finished.stderr
    assert "model.pt2.json: ensemble of 2 side networks with the backbone; on 8" in finished.stderr
    description = json.loads((folder / "model.pt2.json").read_text())
    assert [output["name"] for output in description["outputs"]] == ["pet"]
    assert description["outputs"][0]["side_network"] == "ensemble"
    assert description["outputs"][0]["members"] == list(description["side_networks"]) == ["one", "two"]
    classifier = load(folder / "pets", ensemble=True, device="cpu")
    images = drawn_images(classifier.networks.preprocessing, 3)
    scores = torch.export.load(folder / "model.pt2").module()(images)["pet"]
    expected = classifier(images)["ensemble"]["pet"]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_side_networks_alone_need_no_backbone(command: Any, folder: Path) -> None:
    finished = command(folder, "losa-export", "runs/*", "to=out/")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.splitlines()[-1] == "out: 2 side networks"
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["README.md", "probe", "relay"]
    again = command(folder, "losa-export", "runs/*", "to=out/")
    assert again.stderr.splitlines()[-1] == "out: 2 side networks; README.md is the one that was there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["to=a.pt2"], "name side networks: losa-export runs/sweep to=model.onnx"),
        (["runs/probe"], "to=... is missing and has no default"),
        (["runs/probe", "to=a.bin"], "to=a.bin: expected <file>.pt2 or <file>.onnx"),
        (["none", "to=a.pt2"], "none: expected the folder of a side network"),
        (["runs/probe", "to=out/", "images=photos"], "images=...: there is no model to check in to=out/"),
        (["runs/*", "to=out/", "ensemble=true"], "to=out/ keeps each side network as it is"),
        (["runs/probe", "to=a.pt2", "images=none"], "none: there is no such file or folder"),
        (
            ["runs/probe", "to=a.pt2", "backbone.seed=1"],
            "not the backbone that the side networks were trained on",
        ),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    arguments: list[str], message: str, command: Any, folder: Path
) -> None:
    before = sorted(folder.rglob("*"))
    finished = command(folder, "losa-export", *arguments)
    assert finished.returncode == 1
    assert message in finished.stderr
    assert sorted(folder.rglob("*")) == before


def test_to_may_be_typed_as_a_flag() -> None:
    for typed in (["--to", "a.onnx"], ["--to=a.onnx"]):
        assert _with_option(["losa-export", "run", *typed, "x=1"]) == [
            "losa-export",
            "run",
            "to=a.onnx",
            "x=1",
        ]
    assert _with_option(["losa-export", "--to"]) == ["losa-export", "--to"]
