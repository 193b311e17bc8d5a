"""losa-bench lora on a few images through a toy transformer: its output, and that it learns."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from losa.cache_format import LosaError
from losa.pipelines.bench.lora import accuracy
from losa.pipelines.bench.lora.accuracy import LoraAccuracy

OPTIONS = (
    "--backbone test_vit --no-pretrained --rank 2 --epochs 6 --batch 8 --lr 1e-2 --dtype float32 --device cpu"
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Dark and bright images."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train800val200", 24), ("test", 10)):
        lines = []
        for number in range(count):
            label = number % 2
            pixels = rng.integers(0, 100, (20, 20, 3)) + 150 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}{number}.png")
            lines.append(f"{split}{number}.png {label}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def test_the_command_trains_each_seed(command, tmp_path, root):
    pytest.importorskip("peft")
    options = [*OPTIONS.split(), "--root", str(root), "--seed", "0", "--seed", "1"]
    done = command(tmp_path, "losa-bench", "lora", *options, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        assert row["test_accuracy"] > 0.8
        assert row["seconds"] > row["seconds_per_epoch"] > 0
    shown = command(tmp_path, "losa-bench", "lora", *options, "--epochs", "1").stdout
    assert "standard deviation" in shown


def test_a_seed_is_trained_the_same_again(root):
    pytest.importorskip("peft")
    settings = LoraAccuracy(
        root=str(root),
        backbone="test_vit",
        pretrained=False,
        epochs=1,
        dtype="float32",
        device="cpu",
        seeds=(3, 3),
    )
    first, second = settings.run()
    assert first["train_accuracy"] == second["train_accuracy"]


def test_layers_that_do_not_exist_are_refused(root):
    pytest.importorskip("peft")
    settings = LoraAccuracy(
        root=str(root), backbone="test_vit", pretrained=False, targets=["query"], device="cpu"
    )
    with pytest.raises(LosaError, match="--targets query"):
        settings.run()


def test_an_emulated_dtype_is_told(root, monkeypatch, capsys):
    pytest.importorskip("peft")
    monkeypatch.setattr(accuracy, "slowdown", lambda dtype, device: 40.0)
    settings = LoraAccuracy(
        root=str(root), backbone="test_vit", pretrained=False, epochs=1, dtype="float32", device="cpu"
    )
    (row,) = settings.run()
    assert row["emulated"]
    assert "is emulated on this machine" in capsys.readouterr().err


def test_a_training_that_would_take_too_long_is_refused(root):
    pytest.importorskip("peft")
    settings = LoraAccuracy(
        root=str(root), backbone="test_vit", pretrained=False, dtype="float32", device="cpu", seconds=1e-3
    )
    with pytest.raises(LosaError, match=r"20 steps would take about \d+ s: expected at most 0.001"):
        settings.run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs 0: expected more than 0"),
        ({"dtype": "half"}, "--dtype half: expected one of"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(LosaError, match=message):
        LoraAccuracy(root="unused", backbone="unused", **options)
